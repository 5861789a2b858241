package netproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// opens applies a verdict, the hooks and the budgets to a connection that is not read, and
// records that it leaves. false: it was refused, and the pen's end is reset.
func (p *Proxy) opens(c *conn, f *flow, v policy.Verdict, would bool) bool {
	would = would && v.Action != hooks.Ask
	f.verdict(f.asked(p.ending, c, v), would)
	if f.meeting() && f.req.Flow == 0 {
		f.req.Flow = p.flows.Add(1)
	}
	if f.allowed && f.meets(p.ending, c, c) {
		if err := f.admit(0, 0); err != nil {
			f.refuse(err.Error(), "budget")
		}
	}
	if !f.allowed {
		p.denyConn(c, f)
		return false
	}
	if f.begin() != nil {
		c.reset()
		return false
	}
	return true
}

// relayTCP connects the pen with a target that a rule allows as raw TCP. would
// says that the policy denies it and the mode lets it through.
func (p *Proxy) relayTCP(c *conn, gen *generation, v policy.Verdict, would bool) {
	f := p.newFlow(&c.binding)
	f.gen = gen
	f.req.Protocol, f.req.Target = hooks.ProtocolTCP, c.target
	if !p.opens(c, f, v, would) {
		return
	}
	up, err := f.gen.dial(context.Background(), c.target, f.dial, f.routed.via)
	if err != nil {
		f.fail(err)
		f.end()
		c.reset()
		return
	}
	p.splice(c, up, f)
}

// splice copies both ways until both ends are done. Between TCP connections the
// bytes stay in the kernel.
func (p *Proxy) splice(c *conn, up net.Conn, f *flow) {
	f.upstream = addrPort(up.RemoteAddr())
	if !p.track(up) {
		up.Close()
		c.reset()
		return
	}
	defer p.untrack(up)
	if len(c.prefix) > 0 {
		granted, over := f.take(bytesOut, len(c.prefix))
		n, err := up.Write(c.prefix[:granted])
		f.up.Add(int64(n))
		c.prefix = nil
		if over != nil {
			err = over
		}
		if err != nil {
			f.fail(err)
			up.Close()
			f.end()
			c.reset()
			return
		}
	}
	r := &relay{pen: c.TCPConn, up: up, idle: p.limits.Raw}
	p.sweeper.relay(r)
	defer p.sweeper.unrelay(r)
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if v := recover(); v != nil { // else it would be the end of all flows
				f.p.panicked(f.binding, audit.Violation{Flow: f.req.Flow, Target: f.req.Target, Action: "closed"}, v)
				r.end(r.pen, r.up)
				err = errors.New("a handler failed")
			}
			done <- err
		}()
		err = r.copy(up, f.metered(c.TCPConn, bytesOut), &f.up)
	}()
	down := r.copy(c.TCPConn, f.metered(up, bytesIn), &f.down)
	upErr := <-done
	if err := errors.Join(upErr, down); err != nil {
		f.fail(err)
		if tc, ok := up.(*net.TCPConn); ok {
			tc.SetLinger(0) //nolint:errcheck // closing all the same
		}
		up.Close()
		f.end()
		c.reset()
		return
	}
	up.Close()
	f.end()
	c.Close()
}

// relay is one pair of directions. It has no deadlines, which a short connection
// would only set and clear: the sweeper pokes it now and then, which interrupts
// whoever reads, so that they look what has moved since.
type relay struct {
	pen, up net.Conn
	idle    time.Duration
	last    atomic.Int64 // unix nanoseconds when a byte was last seen to move, either way
	poked   int64        // the sweeper's
	dead    atomic.Bool
	stuck   atomic.Bool // ended by the sweeper
}

// poke interrupts both directions every half of the idle time. It ends a relay
// of which both are held up in a write: neither of them would look.
func (r *relay) poke(now int64) {
	if now-r.poked <= int64(r.idle)/2 {
		return
	}
	r.poked = now
	if now-r.last.Load() > int64(r.idle)*2 {
		r.stuck.Store(true)
		r.end(r.pen, r.up)
		return
	}
	r.interrupt()
}

// interrupt has both directions look. It must not interrupt a write: what was
// read for it, into the pipe of a splice(2) too, would be lost.
func (r *relay) interrupt() {
	past := time.Unix(1, 0)
	r.pen.SetReadDeadline(past) //nolint:errcheck // gone already, then
	r.up.SetReadDeadline(past)  //nolint:errcheck // the same
}

// end wakes both directions for good.
func (r *relay) end(a, b net.Conn) {
	r.dead.Store(true)
	past := time.Unix(1, 0)
	a.SetDeadline(past) //nolint:errcheck // gone already, then
	b.SetDeadline(past) //nolint:errcheck // the same
}

// copy moves bytes from src to dst, then ends dst's direction. A direction may
// be silent as long as the other is not. An error ends both.
func (r *relay) copy(dst, src net.Conn, count *atomic.Int64) error {
	for {
		n, err := io.Copy(dst, src)
		count.Add(n)
		if err == nil {
			if cw, ok := dst.(interface{ CloseWrite() error }); ok {
				cw.CloseWrite() //nolint:errcheck // gone already, then
			}
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && !r.dead.Load() {
			now := time.Now().UnixNano()
			if n > 0 {
				r.last.Store(now)
			}
			if now-r.last.Load() < int64(r.idle) {
				src.SetReadDeadline(time.Time{}) //nolint:errcheck // fails in the copy
				if r.dead.Load() {
					r.end(src, dst) // what ended it came before our taking it back
				}
				continue
			}
			err = errIdle
		}
		if r.stuck.Load() {
			err = errIdle
		}
		// Wake the other direction: what it waits for has no reader any more.
		r.end(src, dst)
		return err
	}
}

const errIdle flowError = "no byte either way for too long"
