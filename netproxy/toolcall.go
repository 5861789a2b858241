package netproxy

import (
	"context"

	"github.com/penstock/penstock/hooks"
)

// calling asks the hooks about each call of a tool in the request. false: it is denied.
func (f *flow) calling(ctx context.Context) bool {
	if f.calls == nil || !f.asks(hooks.PointToolCall) {
		return true
	}
	list, err := f.calls.Tools()
	if err != nil {
		name, rule, _ := f.gen.hooks.First(hooks.PointToolCall, &f.req.Target)
		f.overrule(hooks.Decision{Reason: "hook " + name + " can't be asked: " + err.Error(), Rule: rule})
		return false
	}
	for i := range list {
		q := f.req
		q.Point, q.Tool = hooks.PointToolCall, &list[i]
		f.answered = answered{} // a person's yes to one is none to the next
		if _, ok := f.hooked(ctx, f.web.client, &q); !ok {
			return false
		}
	}
	return true
}
