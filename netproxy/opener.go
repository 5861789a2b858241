package netproxy

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// opener is who opened a connection of the pen: asked for once, when it was
// accepted, and told to each request on it. A nil opener is nobody known.
type opener struct {
	known  chan struct{} // closed when who and told are set
	who    *hooks.Process
	told   *hooks.Process // by somebody in the pen, for the records
	number atomic.Uint64  // of its record, 0 until there is one

	client, server netip.AddrPort
}

// ask begins to find out who opened c, which was made to server. The answer is
// waited for where it is needed first, after the bytes that are on their way.
func (p *Proxy) ask(c *conn, server netip.AddrPort) {
	if p.cfg.Who == nil && p.cfg.Told == nil {
		return
	}
	o := &opener{known: make(chan struct{}), client: c.client, server: server}
	c.opener = o
	go func() {
		defer close(o.known)
		defer func() {
			if v := recover(); v != nil {
				p.violation(nil, audit.Violation{Kind: "panic", Detail: "who: " + fmt.Sprint(v), Action: "unknown"})
			}
		}()
		ctx, cancel := context.WithTimeout(p.ending, p.limits.Who)
		defer cancel()
		if p.cfg.Who != nil {
			o.who = p.cfg.Who(ctx, o.client, o.server)
		}
		if p.cfg.Told != nil {
			o.told = p.cfg.Told(ctx, o.client, o.server)
		}
	}()
}

// process waits for the answer, nil if there is none.
func (o *opener) process() *hooks.Process {
	if o == nil {
		return nil
	}
	<-o.known
	return o.who
}

// now is process for a request that is made now: nobody, when a rule names a
// process and the opener executes something else by now, or has ended and left
// its connection to another.
func (o *opener) now(p *Proxy) *hooks.Process {
	who := o.process()
	if who == nil || p.cfg.Still == nil || !p.rules.Load().policy.NeedsProcess() {
		return who
	}
	ctx, cancel := context.WithTimeout(p.ending, p.limits.Who)
	defer cancel()
	if !p.cfg.Still(ctx, who, o.client, o.server) {
		return nil
	}
	return who
}

// connect says what a policy could allow the opener at a target. It waits for who
// that is only if a rule asks.
func (o *opener) connect(p *policy.Policy, t hooks.Target) policy.Connect {
	if !p.NeedsProcess() {
		return p.Connect(t)
	}
	return p.ConnectBy(t, o.process())
}

// named is who a record names: whom the pen's own kernel tells, which knows more than
// that a process of its own has opened the connection.
func (o *opener) named() *hooks.Process {
	who := o.process()
	if o != nil && o.told != nil {
		return o.told
	}
	return who
}

// recorded returns the number of the record of who is named, and writes that if the
// session has none yet.
func (o *opener) recorded(r *audit.Roster) (uint64, error) {
	if n := o.number.Load(); n != 0 {
		return n, nil
	}
	n, err := r.Number(o.named())
	if err == nil {
		o.number.Store(n)
	}
	return n, err
}

// Executed is what a record says of a process that executes a file.
func (p *Proxy) Executed(who *hooks.Process) audit.Process { return p.roster.Executed(who) }

// Number is the number of a process's record, which is written if there is none yet.
func (p *Proxy) Number(who *hooks.Process) (uint64, error) { return p.roster.Number(who) }

// Exit is what a record says of the end of a process that may have made
// connections: named as their flows name it, if they do.
func (p *Proxy) Exit(who *hooks.Process) audit.Process { return p.roster.Exit(who) }

// errKernel is told of a connection that never came to be.
const errKernel flowError = "the kernel refused the connection"

// Refused records a connection that somebody refused before us because the policy
// denies its target, as if it had been refused here. false: the policy says
// something else, and nothing is recorded.
func (p *Proxy) Refused(target hooks.Target, who *hooks.Process) bool {
	v := p.rules.Load().policy.ConnectBy(target, who).TCP
	if v.Action != hooks.Deny || v.Rule == nil {
		return false
	}
	o := &opener{known: make(chan struct{}), who: who}
	close(o.known)
	f := &flow{p: p, binding: &binding{target: target, original: netip.AddrPortFrom(target.Addr, target.Port), opener: o}, start: time.Now()}
	f.req.Protocol, f.req.Target, f.req.Process = hooks.ProtocolTCP, target, who
	f.verdict(v, false)
	f.begin() //nolint:errcheck // it was refused
	f.class, f.err = "denied", errKernel
	f.end()
	return true
}
