package netproxy

import (
	"net/http"

	"github.com/penstock/penstock/hooks"
)

// hookDenied says that a hook denied what had been let out.
type hookDenied struct{ reason string }

func (e *hookDenied) Error() string { return e.reason }

// asks says whether hooks are asked about the flow at a point.
func (f *flow) asks(p hooks.Point) bool {
	return f.gen != nil && f.gen.hooks.Asks(p, &f.req.Target)
}

// responded is the question about an answer.
func (f *flow) responded(p hooks.Point, resp *http.Response) *hooks.Request {
	q := f.req
	q.Point = p
	q.Response = &hooks.Response{Status: resp.StatusCode, Header: resp.Header, Size: resp.ContentLength}
	return &q
}

// respond asks the hooks about the upstream's answer before anything of it is
// the pen's. It returns nil if it may pass, else what the pen gets.
func (f *flow) respond(r *http.Request, resp *http.Response) *http.Response {
	if !f.asks(hooks.PointResponse) {
		return nil
	}
	d, trace := f.gen.hooks.Request(r.Context(), f.responded(hooks.PointResponse, resp))
	f.close.Hooks = append(f.close.Hooks, trace...)
	if d.Action == hooks.Next {
		return nil
	}
	resp.Body.Close()
	return f.withheld(r, d)
}

// withheld is what the pen gets in the place of an answer that a hook denied.
func (f *flow) withheld(r *http.Request, d hooks.Decision) *http.Response {
	err := &hookDenied{f.p.cfg.Secrets.Redact(d.Reason)}
	f.fail(err)
	if d.Action == hooks.Reply {
		return replied(r, d.Answer)
	}
	a := f.answer(http.StatusForbidden, "deny", "the answer was withheld: "+err.reason)
	a.rule = d.Rule
	return a.response(r)
}
