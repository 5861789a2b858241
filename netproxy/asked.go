package netproxy

import (
	"context"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
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
	if rule == f.approved { // a handler of the chain has changed the request since
		v.Action, v.Reason = hooks.Allow, f.open.Reason
		return v
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.p.ending, cancel)()
	if c != nil {
		go c.watchGone(ctx, cancel)
	}
	o := d.Ask(ctx, f.gen.policy, &f.req, v)
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
	f.req.Process = f.binding.opener.now(f.p)
	now := f.gen.policy.Decide(&f.req)
	now.Bodies = nil // looked at before: no rule allows what it says
	if now.Action != hooks.Ask {
		return now
	}
	if f.gen.policy.Approval(&f.req, now).Rule.Text != rule {
		return policy.Verdict{Rule: now.Rule, Reason: "the policy has changed since it was asked about; " + now.Reason}
	}
	f.approved = rule
	now.Action, now.Reason = hooks.Allow, o.Reason
	return now
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
