package netproxy

import (
	"context"

	"github.com/penstock/penstock/hooks"
)

// AskSession asks the policy's hooks about the session, at PointSessionStart or
// PointSessionEnd. What is not Next denies.
func (p *Proxy) AskSession(ctx context.Context, at hooks.Point, run *hooks.Run) (hooks.Decision, []hooks.Trace) {
	gen := p.rules.Load()
	if gen.broken != nil {
		return hooks.Decision{Reason: "the hooks of the policy can't be asked: " + gen.broken.Error()}, nil
	}
	return gen.hooks.Request(ctx, &hooks.Request{Session: p.cfg.Session, Point: at, Run: run})
}
