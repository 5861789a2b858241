package netproxy

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/policy"
)

// inspected is a body of which hooks see everything before it is passed on.
type inspected struct {
	*chain.Body
	body    io.ReadCloser
	f       *flow
	trailer *http.Header
	early   *early
}

// early remembers the beginning of what is read of a body before it is captured.
type early struct {
	io.Reader
	left int64 // that is remembered
	read []byte
}

func (e *early) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if keep := min(int64(n), e.left); keep > 0 {
		e.read = append(e.read, p[:keep]...)
		e.left -= keep
	}
	return n, err
}

func (b *inspected) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	var denied *chain.Denied
	if errors.As(err, &denied) {
		b.f.denied.CompareAndSwap(nil, denied)
		clear(*b.trailer)
	}
	return n, err
}

// Close may be called while a Read waits.
func (b *inspected) Close() error { return b.body.Close() }

// begin asks the hooks that want the body as a whole.
func (b *inspected) begin() error {
	err := b.Begin()
	var denied *chain.Denied
	if errors.As(err, &denied) {
		b.f.denied.CompareAndSwap(nil, denied)
	}
	return err
}

// inspect puts the hooks that are about it in front of a body. What they were asked
// is recorded at the flow's end. changed says that it is what hooks have made of one.
func (f *flow) inspect(r *http.Request, q *hooks.Request, body io.ReadCloser, h http.Header, trailer *http.Header, changed bool) *inspected {
	e := &early{Reader: body}
	if q.Point == hooks.PointRequestBody && f.captures != nil && f.captures.Request > 0 {
		e.left = f.captures.Request + capture.Slack + 1 // one more tells that it is cut
	}
	var b *chain.Body
	if changed {
		b = f.gen.hooks.InspectChanged(r.Context(), q, e, &f.p.kept)
	} else {
		b = f.gen.hooks.Inspect(r.Context(), q, e, strings.Join(h["Content-Encoding"], ", "), func() http.Header { return *trailer }, &f.p.kept)
	}
	f.inspects = append(f.inspects, b)
	return &inspected{b, body, f, trailer, e}
}

// inspectRequest asks the hooks about the body of a request. It returns nil if the
// request may leave, or begin to; else what the pen is told.
func (f *flow) inspectRequest(r *http.Request) *http.Response {
	if f.web.upgrade {
		return f.unreadable(r)
	}
	return f.inspectUpload(r, false)
}

// inspectUpload asks them about a body, or about what they have made of it.
func (f *flow) inspectUpload(r *http.Request, changed bool) *http.Response {
	if r.Body == http.NoBody || !f.asks(hooks.PointRequestBody) {
		return nil
	}
	q := f.req
	q.Point = hooks.PointRequestBody
	b := f.inspect(r, &q, r.Body, r.Header, &r.Trailer, changed)
	r.Body = b
	err := b.begin()
	if err == nil {
		if body, ok := b.Changed(); ok {
			return f.reupload(r, b, body)
		}
		return nil
	}
	f.web.fullDuplex(r)
	if denied := f.denied.Load(); denied != nil {
		f.open.Hooks = append(f.open.Hooks, b.Traces()...)
		b.Body.Close()
		f.inspects = nil
		f.overrule(denied.Decision)
		return f.deny(r, f.said())
	}
	f.refuse("the body of the request did not end well", "client-gone")
	if f.leaking(err) {
		f.refuse(err.Error(), f.class)
		return f.deny(r, policy.Verdict{Reason: err.Error() + hintLine(err)})
	}
	f.err = err
	return f.deny(r, f.said())
}

// unreadable refuses a WebSocket where hooks are about bodies: there is none, but
// messages that they would not see.
func (f *flow) unreadable(r *http.Request) *http.Response {
	name, rule, ok := f.gen.hooks.Blind(&f.req.Target)
	if !ok {
		return nil
	}
	f.overrule(hooks.Decision{Rule: rule, Reason: "hook " + name + " is asked about bodies, and not about the messages of a WebSocket (on: [websocket])"})
	return f.deny(r, f.said())
}

// inspectResponse asks the hooks about the body of an answer. It returns nil if the
// answer may pass, or begin to; else what the pen gets.
func (f *flow) inspectResponse(r *http.Request, resp *http.Response) *http.Response {
	none := f.web.head || resp.ContentLength == 0 || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if !none && f.asks(hooks.PointResponseBody) {
		b := f.inspect(r, f.responded(hooks.PointResponseBody, resp), resp.Body, resp.Header, &resp.Trailer, false)
		resp.Body = b
		err := b.begin()
		if err == nil {
			err = f.redownload(r, resp, b)
		}
		if err != nil {
			b.Close()
			return f.upstreamFailed(r, err)
		}
	}
	// The body of the request may have been denied while the upstream answered.
	instead := f.withheldBody(r)
	if instead != nil {
		resp.Body.Close()
	}
	return instead
}

// talks says whether the messages of a WebSocket are read: hooks are asked about them,
// or a secret may go into one.
func (f *flow) talks() bool {
	return f.asks(hooks.PointWebSocket) || f.p.cfg.Secrets.Messages(f.req.Target, f.confidential()) != nil
}

// readable asks the upstream for what the hooks about bodies and messages can read.
func (f *flow) readable(out *http.Request) *http.Request {
	accept := out.Header["Accept-Encoding"]
	extended := f.web.upgrade && f.talks()
	coded := len(accept) > 0 && f.asks(hooks.PointResponseBody)
	if !extended && !coded {
		return out
	}
	one := new(http.Request)
	*one = *out
	one.Header = out.Header.Clone()
	if extended {
		delete(one.Header, "Sec-Websocket-Extensions")
	}
	if !coded {
		return one
	}
	one.Header["Accept-Encoding"] = []string{"identity"}
	for _, v := range accept {
		for tok := range strings.SplitSeq(v, ",") {
			name, q, _ := strings.Cut(tok, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.Trim(q, " q=0.") != "" == (q != "") {
				one.Header["Accept-Encoding"] = []string{"gzip"}
			}
		}
	}
	return one
}

// withheldBody is what the pen is told if a hook has denied a body before anything
// of the answer was its own.
func (f *flow) withheldBody(r *http.Request) *http.Response {
	denied := f.denied.Load()
	if denied == nil {
		return nil
	}
	f.web.fullDuplex(r)
	a := f.answer(http.StatusForbidden, "deny", f.p.redact(denied.Decision.Reason))
	a.rule = denied.Decision.Rule
	return a.response(r)
}

// inspectedHooks ends what hooks see of bodies and returns what they did.
func (f *flow) inspectedHooks() (out []hooks.Trace) {
	for _, b := range f.inspects {
		b.Close()
		out = append(out, b.Traces()...)
	}
	return out
}
