package netproxy

import (
	"context"

	"github.com/penstock/penstock/hooks"
)

// JudgeName is dns.Config.Judge: it returns what asks the policy's hooks about a name
// that the pen wants the address of, nil if nobody is to be asked. Where the policy lets
// nothing go to the name, that is so: whoever connects to it hears why it is denied, and
// no hook learns of it. What is not Next denies.
func (p *Proxy) JudgeName(name, qtype string) func(context.Context) (hooks.Decision, []hooks.Trace) {
	gen := p.rules.Load()
	q := p.nameQuestion(name, &hooks.Lookup{Type: qtype})
	if !gen.hooks.Asks(hooks.PointDNS, &q.Target) {
		return nil
	}
	rule, ok := gen.policy.Named(name)
	if !ok {
		return nil
	}
	if rule != nil {
		q.Lookup.Rule = rule.Ref()
	}
	return func(ctx context.Context) (hooks.Decision, []hooks.Trace) {
		d, trace := gen.hooks.Request(ctx, q)
		d.Reason = p.cfg.Secrets.Redact(d.Reason)
		return d, trace
	}
}

// nameQuestion is the question about a name.
func (p *Proxy) nameQuestion(host string, l *hooks.Lookup) *hooks.Request {
	return &hooks.Request{Session: p.cfg.Session, Target: hooks.Target{Host: host}, Point: hooks.PointDNS, Lookup: l}
}
