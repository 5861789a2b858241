package netproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// answer is what the proxy itself says to a request.
type answer struct {
	status  int
	verdict string // deny, refused (never judged), error (upstream)
	target  hooks.Target
	scheme  string
	method  string
	path    string
	reason  string
	rule    string
	class   string // of an error
	flow    uint64
}

// VerdictHeader is in each answer that does not come from the upstream.
const VerdictHeader = "X-Penstock-Verdict"

// response renders the answer in the form that the client can show.
func (a *answer) response(r *http.Request) *http.Response {
	h := make(http.Header, 6)
	h[VerdictHeader] = []string{a.verdict}
	h["Cache-Control"] = []string{"no-store"}
	if ct := r.Header.Get("Content-Type"); strings.HasPrefix(ct, "application/grpc") {
		return a.grpc(r, h, ct)
	}
	var body []byte
	if wantsJSON(r) {
		h["Content-Type"] = []string{"application/json"}
		body = a.json()
	} else {
		h["Content-Type"] = []string{"text/plain; charset=utf-8"}
		body = a.text()
	}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	return &http.Response{StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)), Request: r}
}

// grpc is a response of headers only, in which a gRPC client finds its status
// (gRPC over HTTP/2, Trailers-Only).
func (a *answer) grpc(r *http.Request, h http.Header, contentType string) *http.Response {
	code := "7" // PERMISSION_DENIED
	switch {
	case a.status == http.StatusTooManyRequests:
		code = "8" // RESOURCE_EXHAUSTED
	case a.status >= 500:
		code = "14" // UNAVAILABLE
	case a.status == http.StatusBadRequest:
		code = "3" // INVALID_ARGUMENT
	}
	h["Content-Type"] = []string{contentType}
	h["Grpc-Status"] = []string{code}
	h["Grpc-Message"] = []string{grpcMessage("penstock: " + a.reason)}
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: h, ContentLength: 0, Body: http.NoBody, Request: r}
}

// grpcMessage percent-encodes as the gRPC protocol asks.
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func wantsJSON(r *http.Request) bool {
	for _, v := range r.Header["Accept"] {
		for tok := range strings.SplitSeq(v, ",") {
			tok, _, _ = strings.Cut(strings.TrimSpace(tok), ";")
			if strings.EqualFold(tok, "application/json") {
				return true
			}
		}
	}
	return false
}

func (a *answer) url() string {
	u := a.target.String()
	if a.scheme != "" {
		u = a.scheme + "://" + u + a.path
	}
	return strings.TrimSpace(a.method + " " + u)
}

func (a *answer) text() []byte {
	what := map[string]string{"deny": "denied", "refused": "refused", "error": "could not reach the upstream"}[a.verdict]
	var b bytes.Buffer
	fmt.Fprintf(&b, "penstock: %s: %s\n%s\n", what, a.url(), a.reason)
	switch {
	case a.rule != "":
		fmt.Fprintf(&b, "rule: %s\n", a.rule)
	case a.verdict == "deny" && a.status == http.StatusForbidden:
		b.WriteString("rule: none\n")
	}
	return b.Bytes()
}

func (a *answer) json() []byte {
	out, err := json.Marshal(struct {
		Penstock string `json:"penstock"`
		Status   int    `json:"status"`
		Target   string `json:"target,omitempty"`
		Method   string `json:"method,omitempty"`
		Path     string `json:"path,omitempty"`
		Rule     string `json:"rule,omitempty"`
		Reason   string `json:"reason"`
		Class    string `json:"class,omitempty"`
		Flow     uint64 `json:"flow,omitempty"`
	}{a.verdict, a.status, a.target.String(), a.method, a.path, a.rule, a.reason, a.class, a.flow})
	if err != nil { // strings always encode
		return []byte("{}")
	}
	return append(out, '\n')
}

// write sends the answer outside of the chain.
func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	resp := a.response(r)
	h := w.Header()
	for k, v := range resp.Header {
		h[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	if r.Method != http.MethodHead {
		io.Copy(w, resp.Body) //nolint:errcheck // a client that is gone
	}
}

// answerRefusal answers and records a request that was not judged.
func (p *Proxy) answerRefusal(w http.ResponseWriter, r *http.Request, b *binding, why *refusal) {
	f := p.unjudged(b, r, policy.Verdict{Action: hooks.Deny, Reason: why.reason})
	if why.kind != "" {
		p.violation(b, audit.Violation{Kind: why.kind, Detail: why.reason, Flow: f.req.Flow, Target: f.req.Target, Action: "denied"})
		f.class = why.kind
	}
	f.status = why.status
	f.end()
	(&answer{status: why.status, verdict: "refused", target: f.req.Target, reason: why.reason, flow: f.req.Flow}).write(w, r)
}

// answerDeny answers a CONNECT to a target at which nothing is allowed.
func (p *Proxy) answerDeny(w http.ResponseWriter, r *http.Request, b *binding, v policy.Verdict) {
	f := p.unjudged(b, r, v)
	f.req.Protocol, f.class, f.status = hooks.ProtocolTCP, "denied", http.StatusForbidden
	f.end()
	(&answer{status: http.StatusForbidden, verdict: "deny", target: b.target, method: r.Method, reason: v.Reason,
		rule: f.open.Rule, flow: f.req.Flow}).write(w, r)
}

// unjudged begins a flow that is denied whatever the policy says.
func (p *Proxy) unjudged(b *binding, r *http.Request, v policy.Verdict) *flow {
	f := p.newFlow(b)
	f.req.Protocol, f.req.Target = b.protocol(), b.target
	if r.Method == http.MethodConnect {
		f.req.Protocol = hooks.ProtocolTCP
	}
	f.req.Method, f.open.Version = r.Method, r.Proto
	f.verdict(v, false)
	f.begin() //nolint:errcheck // refused either way
	return f
}
