package netproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// handler serves the requests of all connections.
type handler struct{ p *Proxy }

// flowContext carries a request's flow through the handler chain.
type flowContext struct {
	context.Context
	f *flow
}

type flowKey struct{}

func (c *flowContext) Value(key any) any {
	if key == (flowKey{}) {
		return c.f
	}
	return c.Context.Value(key)
}

func flowOf(r *http.Request) *flow {
	f, _ := r.Context().Value(flowKey{}).(*flow)
	return f
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.p
	l, _ := r.Context().Value(linkKey{}).(*link)
	if l == nil || l.pen == nil {
		panic(http.ErrAbortHandler) // no binding: nothing to judge
	}
	b := &l.pen.binding
	if l.hc != nil && !p.admit(l.hc.pen, w, r) {
		return
	}
	if l.hc != nil && r.URL.Path == p.refusedPath {
		p.answerMalformed(w, r, l.hc)
		return
	}
	if l.hc != nil && (r.Method == http.MethodConnect || isWebSocket(r.Header)) {
		// Behind such a head the filter lets everything through: whatever the
		// answer is but the tunnel itself, it is the last one.
		w.Header()["Connection"] = []string{"close"}
	}
	if r.Method == http.MethodConnect {
		if l.hc == nil || !b.open {
			p.answerRefusal(w, r, b, malformed("CONNECT inside a connection that has a target"))
			return
		}
		p.connect(w, r, l.hc)
		return
	}
	target, why := p.bindRequest(b, r)
	if why == nil {
		why = checkMethod(r)
	}
	if why == nil && l.hc == nil {
		why = checkLikeFilter(r)
	}
	var path string
	if why == nil {
		if r.URL.Opaque != "" {
			why = malformed("the request target is neither a path nor a URL")
		} else {
			path, why = setPath(r)
		}
	}
	if why != nil {
		p.answerRefusal(w, r, &binding{target: target, tls: b.tls, conn: b.conn, original: b.original, client: b.client, opener: b.opener}, why)
		return
	}
	f := p.newFlow(b)
	f.gen = p.rules.Load()
	f.req = hooks.Request{Session: p.cfg.Session, Flow: p.flows.Add(1), Protocol: b.protocol(), Target: target, Process: f.req.Process,
		Method: r.Method, Path: path, Query: r.URL.RawQuery, Header: r.Header, Size: r.ContentLength}
	f.serve(w, r)
}

func checkMethod(r *http.Request) *refusal {
	switch r.Method {
	case "TRACE", "TRACK":
		return &refusal{http.StatusMethodNotAllowed, "malformed", r.Method + " shows a request's headers to whoever asks"}
	case "PRI":
		return malformed("HTTP/2 preface inside HTTP/1")
	}
	for i := range len(r.Method) { // HTTP/2 has no filter before it
		if c := r.Method[i]; (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return malformed("method is not upper case letters")
		}
	}
	if e := r.Header["Expect"]; len(e) > 0 && (len(e) > 1 || !strings.EqualFold(e[0], "100-continue")) {
		return &refusal{http.StatusExpectationFailed, "", "Expect other than 100-continue"}
	}
	return nil
}

// checkLikeFilter refuses in HTTP/2, which has no filter before it, what an origin
// of HTTP/1 could read in two ways when it leaves for one.
func checkLikeFilter(r *http.Request) *refusal {
	for i := range len(r.RequestURI) {
		if c := r.RequestURI[i]; c <= ' ' || c == 0x7f || c == '#' {
			return malformed("request target holds a space, control byte or fragment")
		}
	}
	if r.Header["Content_length"] != nil || r.Header["Transfer_encoding"] != nil {
		return malformed("framing field with _ for -")
	}
	return nil
}

// serve runs one bound request through the chain.
func (f *flow) serve(w http.ResponseWriter, r *http.Request) {
	f.open.Version = r.Proto
	f.web.init(f, w, r)
	defer func() {
		v := recover()
		if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a sentinel that is panicked with
			begun := f.web.wrote
			f.panicked(r, v)
			v = nil
			if begun {
				v = http.ErrAbortHandler // what is half said can't be taken back
			}
		}
		f.web.finish()
		f.release()
		f.end()
		if v != nil {
			panic(v)
		}
	}()
	f.web.upgrade = takeHopHeaders(r)
	// Transport would add its own.
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = nil
	}
	r.URL.Scheme, r.URL.Host = f.binding.scheme(), f.authority()
	// The server looks at the type of its own request's body when it answers
	// (Expect: 100-continue): only the copy gets another one.
	r = r.WithContext(f.web.context(r.Context()))
	r.Close = false // what the client wants of its connection says nothing of ours
	if r.ContentLength == 0 {
		r.Body = http.NoBody
	} else {
		r.Body = f.web.requestBody(r)
	}
	f.p.chain.ServeHTTP(&f.web, r)
	if f.web.broken() {
		// What the client has is not all: it must not look so.
		panic(http.ErrAbortHandler)
	}
}

// authority is the target as a URL's host.
func (f *flow) authority() string {
	if f.binding.open {
		return f.req.Target.String()
	}
	return f.binding.hostPort
}

// panicked records a panic, as what is known of it, with its place. It is for who has
// recovered it.
func (p *Proxy) panicked(b *binding, known audit.Violation, v any) {
	known.Kind, known.Detail = "panic", p.redact(fmt.Sprint(v))+"\n"+string(debug.Stack())
	p.violation(b, known)
}

// aside does something of the response in a goroutine of its own. A panic there would
// take every flow of the session with it; so it is recorded, and costs this flow alone:
// what the client has of its answer must not look like all of it.
func (x *web) aside(do func(*web)) {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				x.upErr.Store(true)
				x.f.p.panicked(x.f.binding, audit.Violation{Flow: x.f.req.Flow, Target: x.f.req.Target, Action: "closed"}, v)
			}
		}()
		do(x)
	}()
}

// panicked turns a panic anywhere in the chain into a deny.
func (f *flow) panicked(r *http.Request, v any) {
	f.p.panicked(f.binding, audit.Violation{Flow: f.req.Flow, Target: f.req.Target, Action: "denied"}, v)
	f.allowed = false
	if f.err == nil {
		f.class, f.err = "panic", errors.New("a handler failed")
	}
	if !f.web.wrote {
		a := answer{status: http.StatusInternalServerError, verdict: "deny", target: f.req.Target, flow: f.req.Flow,
			reason: "a handler of the proxy failed; what it could not judge is denied"}
		a.write(&f.web, r)
	}
}

// judge is the first handler of the chain: the policy's verdict.
func (p *Proxy) judge(r *http.Request, ctx *goproxy.ProxyCtx) (*http.Request, *http.Response) {
	f := flowOf(r)
	if f == nil {
		return r, (&answer{status: http.StatusForbidden, verdict: "deny", reason: "request without a flow"}).response(r)
	}
	ctx.RoundTripper = f
	ctx.UserData = f
	if err := p.cfg.Secrets.Scan(r.Method, r.RequestURI, r.Header, f.req.Target); err != nil {
		return r, f.misused(r, err)
	}
	return r, f.decide(r) // what is allowed is recorded right before it leaves, see RoundTrip
}

// deny records and explains a verdict.
func (f *flow) deny(r *http.Request, v policy.Verdict) *http.Response {
	f.allowed = false
	a := answer{status: http.StatusForbidden, verdict: "deny", target: f.req.Target, scheme: f.binding.scheme(),
		method: f.req.Method, path: f.req.Path, reason: v.Reason, rule: f.open.Rule, flow: f.req.Flow}
	if err := f.begin(); err != nil {
		a.status, a.reason = http.StatusServiceUnavailable, err.Error()
	}
	if f.class == "" {
		f.class = "denied"
	}
	return a.response(r)
}

// misused refuses a request with a placeholder where it may not be.
func (f *flow) misused(r *http.Request, err error) *http.Response {
	f.verdict(policy.Verdict{Action: hooks.Deny, Reason: err.Error()}, false)
	resp := f.deny(r, policy.Verdict{Reason: err.Error() + hintLine(err)})
	f.p.violation(f.binding, audit.Violation{Kind: "secret-misuse", Detail: err.Error(), Flow: f.req.Flow, Target: f.req.Target, Action: "denied"})
	f.class = "secret-misuse"
	return resp
}

func hintLine(err error) string {
	if h := hintOf(err); h != "" {
		return " (" + h + ")"
	}
	return ""
}
