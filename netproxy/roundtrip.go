package netproxy

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// setUpstream notes the address that was dialled. A transport may call it from
// a goroutine of its own, but before its round trip returns.
func (f *flow) setUpstream(a netip.AddrPort) { f.upstream = a }

// RoundTrip implements goproxy.RoundTripper. It is the last of the chain: what
// it is given is what leaves, so it checks that this was judged, records it,
// puts the secrets in and sends.
func (f *flow) RoundTrip(r *http.Request, _ *goproxy.ProxyCtx) (*http.Response, error) {
	if resp := f.changed(r); resp != nil {
		return resp, nil
	}
	if !f.allowed {
		return f.deny(r, policy.Verdict{Reason: "not judged"}), nil
	}
	if resp := f.pinned(r); resp != nil {
		return resp, nil
	}
	if f.gen.hooks.Len() > 0 {
		if resp := f.inspectRequest(r); resp != nil {
			return resp, nil
		}
	}
	if err := f.admit(headSize(len(r.Method)+len(r.URL.RequestURI()), r.Header), r.ContentLength); err != nil {
		return f.exhausted(r, err), nil
	}
	if err := f.begin(); err != nil {
		a := f.answer(http.StatusServiceUnavailable, "deny", err.Error())
		return a.response(r), nil
	}
	f.capture(r)
	out, used, err := f.withSecrets(r)
	if err != nil {
		return f.upstreamFailed(r, err), nil
	}
	out = f.readable(out)
	f.flavour = flavourHTTP1
	if f.binding.tls && r.ProtoMajor == 2 {
		f.flavour = flavourHTTP2
	} else if r.ProtoMajor == 2 {
		f.flavour = flavourH2C
	}
	whole, err := f.absolute(r.Context())
	if err != nil {
		return f.upstreamFailed(r, err), nil
	}
	t, err := f.gen.transport(f.dial, f.flavour, whole, f.routed.via)
	if err != nil {
		return f.upstreamFailed(r, err), nil
	}
	var login string
	if whole != nil {
		if out, login, err = f.forProxy(out, whole); err != nil {
			return f.upstreamFailed(r, err), nil
		}
	}
	f.web.fullDuplex(r)
	resp, err := t.RoundTrip(out)
	if err != nil && f.flavour == flavourHTTP1 && f.binding.tls && onlyHTTP2(err) && repeatable(out) {
		f.flavour = flavourHTTP2
		if t, err = f.gen.transport(f.dial, f.flavour, nil, f.routed.via); err == nil {
			resp, err = t.RoundTrip(out)
		}
	}
	if err == nil && whole == nil {
		resp, used, err = f.again(r, t, resp, out, used)
	}
	if err == nil && whole != nil {
		if err = f.fromProxy(resp, whole, login); err != nil {
			t.CloseIdleConnections() // of which this one may be, with a login that does not hold
		}
	}
	if err != nil {
		return f.upstreamFailed(r, err), nil
	}
	if body, err := f.p.cfg.Secrets.Response(resp.Header, resp.Body, used); err != nil {
		resp.Body.Close()
		return f.upstreamFailed(r, err), nil
	} else if body != resp.Body {
		resp.Body = body
	}
	if len(f.meters) > 0 {
		if err := f.admitResponse(resp); err != nil {
			resp.Body.Close()
			return f.exhausted(r, err), nil
		}
	}
	f.web.captured.responded(resp.Header)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return f.switched(r, resp), nil
	}
	takeResponseHopHeaders(resp.Header)
	if len(resp.Trailer) > 0 && r.ProtoMajor == 1 {
		// HTTP/2 may announce trailers beside a length; HTTP/1 can't.
		delete(resp.Header, "Content-Length")
		resp.ContentLength = -1
	}
	if len(used) > 0 {
		resp.Body = &trailerGuard{resp.Body, resp, func(h http.Header) error {
			_, err := f.p.cfg.Secrets.Response(h, http.NoBody, used)
			return err
		}}
	}
	if instead := f.respond(r, resp); instead != nil {
		return instead, nil
	}
	if instead := f.inspectResponse(r, resp); instead != nil {
		return instead, nil
	}
	resp.Body = &responseBody{resp.Body, &f.web}
	return resp, nil
}

// trailerGuard searches a response's trailers for a real value: they are known
// only when the body has ended, and sent on only if it ended well.
type trailerGuard struct {
	io.ReadCloser
	resp  *http.Response
	check func(http.Header) error
}

func (g *trailerGuard) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if err != io.EOF { //nolint:errorlint // readers return it bare
		return n, err
	}
	if why := g.check(g.resp.Trailer); why != nil {
		clear(g.resp.Trailer)
		return n, why
	}
	return n, err
}

// onlyHTTP2 recognises upstreams that don't speak HTTP/1: the alert
// no_application_protocol, and Go's servers, which take the handshake and close.
func onlyHTTP2(err error) bool {
	return errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed idle connection") || isTLSError(err) && strings.Contains(err.Error(), "no application protocol")
}

func repeatable(r *http.Request) bool {
	return r.Body == http.NoBody && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions)
}

// changed judges again what a handler of the chain has changed. The target can't
// be changed at all.
func (f *flow) changed(r *http.Request) *http.Response {
	if r.URL.Scheme != f.binding.scheme() || r.URL.Host != f.authority() {
		return f.deny(r, policy.Verdict{Reason: "a handler changed the target after it was bound"})
	}
	path, why := setPath(r)
	if why != nil {
		return f.deny(r, policy.Verdict{Reason: "a handler changed the request: " + why.reason})
	}
	if r.Method == f.req.Method && path == f.req.Path && r.URL.RawQuery == f.req.Query {
		return nil
	}
	f.req.Method, f.req.Path, f.req.Query = r.Method, path, r.URL.RawQuery
	return f.decide(r)
}

// foreign holds a request to the pin of its verdict.
func (f *flow) foreign(r *http.Request) error {
	if f.pin == nil {
		return nil
	}
	return f.p.cfg.Secrets.Pinned(f.pin, r.Header, r.Trailer, r.URL.RawQuery, f.req.Target, f.confidential())
}

// pinned refuses a request that its pin is not about.
func (f *flow) pinned(r *http.Request) *http.Response {
	err := f.foreign(r)
	if err == nil {
		return nil
	}
	f.refuse(err.Error(), "foreign-credential")
	f.open.Rule = f.pin.Ref
	return f.deny(r, policy.Verdict{Reason: err.Error() + hintLine(err)})
}

// confidential says that nobody on the way upstream can read the request.
func (f *flow) confidential() bool {
	return f.binding.tls || f.req.Target.Host == policy.HostInternal
}

// withSecrets returns the request as it leaves. The one that hooks and records
// see keeps its placeholders.
func (f *flow) withSecrets(r *http.Request) (*http.Request, []secrets.Swapped, error) {
	set := f.p.cfg.Secrets
	if set == nil {
		return r, nil, nil
	}
	if err := f.fetched(r); err != nil {
		return nil, nil, err
	}
	out := new(http.Request)
	*out = *r
	out.Header = r.Header.Clone()
	used, err := set.Swap(out.Header, f.req.Target, f.confidential())
	if err != nil {
		return nil, nil, err
	}
	query, more, err := set.SwapQuery(r.URL.RawQuery, f.req.Target, f.confidential())
	if err != nil {
		return nil, nil, err
	}
	if len(more) > 0 {
		u := *r.URL
		u.RawQuery = query
		out.URL, used = &u, append(used, more...)
	}
	if f.web.body.deferred {
		if more, err = set.SwapBody(out, f.req.Target, f.confidential()); err != nil {
			return nil, nil, err
		}
		used = append(used, more...)
	}
	if f.pin != nil {
		if used, err = set.Inject(f.pin, out.Header, used); err != nil {
			return nil, nil, err
		}
	}
	if len(used) > 0 {
		// Response can't look into a compressed answer.
		out.Header["Accept-Encoding"] = []string{"identity"}
	}
	signed, err := set.Sign(out, f.req.Target, f.confidential(), time.Now())
	if err != nil {
		return nil, nil, err
	}
	used = append(used, signed...)
	for _, u := range used {
		f.p.cfg.Record.Note(&audit.SecretUse{Flow: f.req.Flow, Name: u.Secret, Host: f.req.Target.Name(), Header: u.Header})
	}
	return out, used, nil
}

func (f *flow) answer(status int, verdict, reason string) *answer {
	return &answer{status: status, verdict: verdict, target: f.req.Target, scheme: f.binding.scheme(), method: f.req.Method,
		path: f.req.Path, reason: reason, class: f.class, flow: f.req.Flow}
}

// upstreamFailed explains why there is no answer of the upstream.
func (f *flow) upstreamFailed(r *http.Request, err error) *http.Response {
	var via *upstream.Error
	if errors.As(err, &via) {
		err = via // without the transport's words round it
	}
	if denied := f.withheldBody(r); denied != nil {
		return denied
	}
	if f.leaking(err) {
		return f.answer(http.StatusForbidden, "deny", err.Error()+hintLine(err)).response(r)
	}
	var over *overBudget
	if errors.As(err, &over) { // by the body of the request
		return f.exhausted(r, over)
	}
	f.fail(err)
	if r.Context().Err() != nil {
		f.class = "client-gone"
	}
	reason := f.p.redact(err.Error()) + hintLine(err)
	status := http.StatusBadGateway
	switch f.class {
	case "upstream-tls":
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			reason += "; if that authority is yours, name its certificate under ca: in the policy"
		}
	case "guard":
		status = http.StatusForbidden
		return f.answer(status, "deny", reason).response(r)
	case "timeout":
		status = http.StatusGatewayTimeout
	case "upstream-proxy":
		if isTimeout(err) {
			status = http.StatusGatewayTimeout
		}
	}
	return f.answer(status, "error", reason).response(r)
}

// leaking records a placeholder that was about to leave in a wrong place, or a
// value that was about to come back.
func (f *flow) leaking(err error) bool {
	kind, why := leak(err)
	if kind == "" {
		return false
	}
	f.p.violation(f.binding, audit.Violation{Kind: kind, Detail: why.Error(), Flow: f.req.Flow, Target: f.req.Target, Action: "denied"})
	f.class, f.err = kind, why
	return true
}

// leak returns what kind of violation an error is, "" if it is none about secrets.
func leak(err error) (kind string, why error) {
	var misuse *secrets.Violation
	var reflection *secrets.Reflection
	switch {
	case errors.As(err, &misuse):
		return "secret-misuse", misuse
	case errors.As(err, &reflection):
		return "secret-reflected", reflection
	}
	return "", nil
}

// switched prepares the relay of a WebSocket.
func (f *flow) switched(r *http.Request, resp *http.Response) *http.Response {
	rwc, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !f.web.upgrade || !isWebSocket(resp.Header) {
		resp.Body.Close()
		return f.upstreamFailed(r, errors.New("the upstream switched to a protocol that was not asked for"))
	}
	takeResponseHopHeaders(resp.Header)
	resp.Header["Connection"], resp.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	resp.Body = rwc
	asked := f.talks()
	if asked && len(resp.Header["Sec-Websocket-Extensions"]) > 0 {
		resp.Body.Close()
		return f.upstreamFailed(r, errors.New("the upstream has an extension of WebSocket that was not asked for"))
	}
	if instead := f.respond(r, resp); instead != nil {
		return instead
	}
	if asked {
		f.web.talk = newTalk(f, r, rwc)
		resp.Body = upEnd{f.web.talk}
	}
	return resp
}
