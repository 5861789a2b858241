package netproxy

import (
	"context"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/netproxy/speech"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/ask"
)

// goneEvery is how often it is looked whether the client still waits for a
// person's answer.
const goneEvery = 250 * time.Millisecond

// asked waits for a person where the policy says so, and returns the verdict that
// holds then. Nothing of the request has left, no name was looked up. c is the
// client's connection; nil: ctx tells of its end.
func (f *flow) asked(ctx context.Context, c *conn, v policy.Verdict) policy.Verdict {
	if v.Action != hooks.Ask {
		return v
	}
	d := f.p.cfg.Desk
	if d == nil {
		return policy.Verdict{Rule: v.Rule, Reason: "there is nobody to ask: " + v.Reason}
	}
	if f.gen == nil {
		f.gen = f.p.rules.Load()
	}
	if f.req.Flow == 0 {
		f.req.Flow = f.p.flows.Add(1)
	}
	rule := f.gen.policy.Approval(&f.req, v).Rule.Text
	if f.approved != "" && (f.approved == rule || f.approved == f.exactly(rule)) { // a handler of the chain has changed the request since
		v.Action, v.Reason = hooks.Allow, f.open.Reason
		return v
	}
	o := f.waits(ctx, c, func(ctx context.Context) desk.Outcome { return d.Ask(ctx, f.gen.policy, &f.req, v) })
	if !o.Allowed {
		f.class = o.Class
		if o.Class != "ask-denied" && o.Class != "ask-withdrawn" {
			o.Reason += "; " + v.Reason
		}
		return policy.Verdict{Rule: v.Rule, Reason: o.Reason}
	}
	// What was asked about may have changed while it waited: rules, and what the
	// process runs that opened the connection.
	f.gen = f.p.rules.Load()
	who := f.binding.opener.now(f.p)
	if o.Signed && who != f.req.Process {
		return policy.Verdict{Rule: v.Rule, Reason: "who opened the connection runs something else since it was asked about; " + v.Reason}
	}
	f.req.Process = who
	now := f.gen.policy.Decide(&f.req)
	now.Bodies = nil // looked at before: no rule allows what it says
	if now.Action != hooks.Ask {
		return now
	}
	if f.gen.policy.Approval(&f.req, now).Rule.Text != rule {
		return policy.Verdict{Rule: now.Rule, Reason: "the policy has changed since it was asked about; " + now.Reason}
	}
	if f.approved = rule; o.Signed {
		f.approved = f.exactly(rule)
	}
	now.Action, now.Reason = hooks.Allow, o.Reason
	return now
}

// exactly is what a signed answer about the request holds for: the rule is about more.
func (f *flow) exactly(rule string) string {
	return rule + "\n" + f.req.Method + " " + f.req.Path
}

// waits asks a person, and takes the question back when the client has gone or the
// proxy ends. c and ctx are as with asked.
func (f *flow) waits(ctx context.Context, c *conn, question func(context.Context) desk.Outcome) desk.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.p.ending, cancel)()
	if c != nil {
		go c.watchGone(ctx, cancel)
	}
	return question(ctx)
}

// hooked asks the hooks at a point before anything has left, and a person where they
// leave it to one. false: it is denied, or answered, as the decision says. c and ctx
// are as with asked.
func (f *flow) hooked(ctx context.Context, c *conn, q *hooks.Request) (hooks.Decision, bool) {
	d, trace := f.gen.hooks.Request(ctx, q)
	f.open.Hooks = append(f.open.Hooks, trace...)
	if d.Change != nil {
		if no, ok := f.rewritable(d.Change, trace); !ok {
			d = no
		}
	}
	if d.Via != "" {
		if no, ok := f.route(routed{chain.Router(trace), d.Via}, d.Rule); !ok {
			d = no
		}
	}
	switch d.Action {
	case hooks.Next:
		return d, true
	case hooks.Ask:
	default:
		f.overrule(d)
		return d, false
	}
	names := chain.Askers(trace)
	h := &ask.Hook{Name: names[0], Rule: d.Rule, Point: q.Point, Why: f.p.cfg.Secrets.Redact(d.Reason)}
	if q.Tool != nil {
		h.Tool = f.p.cfg.Secrets.Redact(speech.Quoted(q.Tool.Name))
	}
	why, class := f.person(ctx, c, h, names)
	if why != "" {
		d = hooks.Decision{Reason: why, Rule: h.Rule}
		f.overrule(d)
		f.class = class
		return d, false
	}
	return hooks.Decision{Action: hooks.Next}, true
}

// person has one decide about what hooks leave to a person. why is why it is denied,
// "" if it may go on.
func (f *flow) person(ctx context.Context, c *conn, h *ask.Hook, names []string) (why, class string) {
	pass, why := f.gen.policy.Unasked(names, f.p.cfg.Permissive)
	d := f.p.cfg.Desk
	switch {
	case pass:
		return "", ""
	case why != "":
		return why + "; " + h.Why, "hook"
	case d == nil:
		return "there is nobody to ask; " + h.Why, "hook"
	case f.answered.gen == f.gen && f.answered.hook == *h:
		f.open.Reason = f.answered.reason // of the same request, whose body hooks have changed since
		return "", ""
	}
	o := f.waits(ctx, c, func(ctx context.Context) desk.Outcome { return d.AskByHook(ctx, f.gen.policy, &f.req, h) })
	switch {
	case !o.Allowed:
		return o.Reason + "; " + h.Why, o.Class
	case f.p.rules.Load() != f.gen:
		return "the policy has changed since it was asked about; " + h.Why, "hook"
	case f.binding.opener.now(f.p) != f.req.Process:
		return "who opened the connection runs something else since it was asked about; " + h.Why, "hook"
	}
	f.open.Reason = o.Reason
	f.answered = answered{f.gen, *h, o.Reason}
	return "", ""
}

// answered is a yes of a person to what hooks have said. The zero value is none.
type answered struct {
	gen    *generation
	hook   ask.Hook
	reason string
}

// watchGone calls gone when the client has closed its connection, or its half of
// it: who asks and hears no answer has gone. Bytes that it sent stay unread; where
// they fill the kernel's buffers its end can't be seen behind them, and the question
// waits for its time.
func (c *conn) watchGone(ctx context.Context, gone func()) {
	t := time.NewTicker(goneEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if hungUp(c.TCPConn) {
				gone()
				return
			}
		}
	}
}
