package netproxy

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/speech"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// flow is one request or raw connection from its verdict to its end.
type flow struct {
	p       *Proxy
	binding *binding
	gen     *generation
	start   time.Time

	req      hooks.Request
	dial     *policy.Dial
	pin      *policy.Pin // nil: none
	budgets  []*policy.Budget
	captures *policy.Capture // nil: nothing is kept of it
	meters   []meter         // of the budgets, once it was let out
	cut      atomic.Pointer[overBudget]
	denied   atomic.Pointer[chain.Denied] // the first body that a hook denied
	holds    int64                        // bytes of its body that are held
	allowed  bool                         // may leave: by the policy or by the mode
	begun    bool                         // its record is written
	// uncounted flows are in the audit, but not in the sums.
	uncounted bool
	routed    routed // by a hook
	rewritten bool   // by hooks
	// approved is what an answer that let it out holds for, "" for none.
	approved string
	answered answered      // by a person, to hooks
	calls    *speech.Calls // in its body, as a rule has read them; nil: none has

	open  audit.FlowOpen
	close audit.FlowClose

	up, down atomic.Int64
	status   int
	flavour  flavour
	upstream netip.AddrPort
	class    string
	err      error

	inspects []*chain.Body // that hooks are asked about

	web web // of HTTP only
}

// verdict takes over what the policy said. would lets through what no rule
// decides; a rule that denies holds in audit mode too, since it may be one of a
// layer that the mode's can't undo.
func (f *flow) verdict(v policy.Verdict, would bool) {
	if v.Action != hooks.Allow { // of what is asked about too, when nobody was
		v.Action = hooks.Deny
	}
	f.dial, f.pin, f.budgets, f.captures = v.Dial, v.Pin, v.Budgets, v.Capture
	f.open.Verdict, f.open.Reason = v.Action, v.Reason
	if v.Rule != nil {
		f.open.Rule = v.Rule.Ref()
	}
	f.allowed = v.Action == hooks.Allow || would && v.Rule == nil
	f.open.Mode = "enforce"
	if f.p.cfg.Permissive && f.allowed {
		f.open.Mode = "audit"
	}
}

// refuse takes an allow back: a limit holds in audit mode, too.
func (f *flow) refuse(reason, class string) {
	f.allowed, f.class = false, class
	f.open.Verdict, f.open.Reason, f.open.Mode = hooks.Deny, reason, "enforce"
}

// newFlow is a flow of a connection, with who opened that.
func (p *Proxy) newFlow(b *binding) *flow {
	f := &flow{p: p, binding: b, start: time.Now()}
	f.req.Process = b.opener.now(p)
	return f
}

// errAudit is told to a pen whose request could not be recorded.
const errAudit flowError = "the audit cannot be written, so nothing may leave"

// begin numbers and records the flow. On an error nothing may leave.
func (f *flow) begin() error {
	if f.req.Flow == 0 {
		f.req.Flow = f.p.flows.Add(1)
	}
	f.req.Session = f.p.cfg.Session
	o := &f.open
	o.Flow, o.Conn = f.req.Flow, f.binding.conn
	o.Protocol, o.Target = f.req.Protocol, f.req.Target
	o.Method, o.Path, o.Query = f.req.Method, f.req.Path, f.req.Query
	o.Original, o.Client = f.binding.original, f.binding.client
	if f.allowed && f.gen != nil {
		if via := f.via(); via != nil {
			o.Via = via.Name
		}
		o.Routed = f.routed.hook
	}
	if !f.uncounted {
		f.p.stats.count(f)
	}
	err := f.recordProcess()
	if err == nil {
		err = f.p.cfg.Record.Append(o)
	}
	if err != nil {
		f.allowed = false
		f.class, f.err = "audit", err
		return errAudit
	}
	f.begun = true
	return nil
}

// recordProcess names who asked in the record, after that one's own.
func (f *flow) recordProcess() (err error) {
	who := f.binding.opener.named()
	if who == nil || f.req.Process == nil && who.SaidBy == "" {
		return nil
	}
	f.open.PID, f.open.TID, f.open.Exe, f.open.SaidBy = who.PID, who.TID, who.Exe.Path, who.SaidBy
	f.open.Process, err = f.binding.opener.recorded(f.p.roster)
	return err
}

// end records how the flow went.
func (f *flow) end() {
	if !f.begun {
		return
	}
	f.begun = false
	f.web.captured.end()
	c := &f.close
	c.Flow = f.req.Flow
	c.BytesUp, c.BytesDown = uint64(f.up.Load()), uint64(f.down.Load())
	c.Duration = time.Since(f.start)
	c.Status, c.Upstream, c.Class = f.status, f.upstream, f.class
	if over := f.cut.Load(); over != nil {
		f.err, c.Class = over, "budget"
	}
	if len(f.inspects) > 0 {
		c.Hooks = append(c.Hooks, f.inspectedHooks()...)
	}
	if denied := f.denied.Load(); denied != nil && f.allowed {
		f.err, c.Class = denied, "hook"
	}
	if f.err != nil {
		c.Error = f.p.redact(f.err.Error())
	}
	f.p.cfg.Record.Note(c)
}

// fail keeps the first error.
func (f *flow) fail(err error) {
	if f.err == nil {
		f.err, f.class = err, classOf(err)
	}
}

// classOf names the step at which a flow failed.
func classOf(err error) string {
	var (
		refused *dialguard.RefusedError
		resolve *dialguard.ResolveError
		over    *overBudget
		hook    *hookDenied
		de      *dialError
		te      *upstreamTLSError
		via     *upstream.Error
	)
	switch {
	case errors.As(err, &via):
		return "upstream-proxy"
	case errors.As(err, &refused):
		return "guard"
	case errors.As(err, &resolve):
		return "resolve"
	case errors.As(err, &over):
		return "budget"
	case errors.As(err, &hook):
		return "hook"
	case errors.As(err, &de):
		return "dial"
	case errors.As(err, &te), isTLSError(err):
		return "upstream-tls"
	case errors.Is(err, errIdle):
		return "idle"
	case errors.Is(err, errAudit):
		return "audit"
	case errors.Is(err, context.Canceled), errors.Is(err, http.ErrAbortHandler):
		return "client-gone"
	case isTimeout(err):
		return "timeout"
	}
	return "upstream"
}

// violation records something that no honest tool does. b says on which
// connection, nil for none.
func (p *Proxy) violation(b *binding, v audit.Violation) {
	p.stats.violation()
	if b != nil {
		if who := b.opener.named(); who != nil {
			v.PID = who.PID                            // with the process's record
			v.Process, _ = b.opener.recorded(p.roster) // the violation is worth recording all the same
		}
	}
	p.cfg.Record.Note(&v)
}

// malformedConn records a connection whose bytes were refused.
func (p *Proxy) malformedConn(c *conn, reason string) {
	if c.stranger() {
		p.turnedAway()
		return
	}
	p.violation(&c.binding, audit.Violation{Kind: "malformed", Detail: reason, Target: c.target, Action: "closed"})
}

// FlowOf returns what is being judged of a request in the handler chain, nil for
// a request that is not ours.
func FlowOf(r *http.Request) *hooks.Request {
	if f := flowOf(r); f != nil {
		return &f.req
	}
	return nil
}
