package netproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// relayTCP connects the pen with a target that a rule allows as raw TCP. would
// says that the policy denies it and the mode lets it through.
func (p *Proxy) relayTCP(c *conn, gen *generation, v policy.Verdict, would bool) {
	f := &flow{p: p, binding: &c.binding, start: time.Now()}
	f.req.Protocol, f.req.Target = hooks.ProtocolTCP, c.target
	f.verdict(v, would)
	if !f.allowed {
		p.denyConn(c, f, v)
		return
	}
	if f.begin() != nil {
		c.reset()
		return
	}
	up, err := p.dial(context.Background(), c.target, v.Dial)
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
		n, err := up.Write(c.prefix)
		f.up.Add(int64(n))
		c.prefix = nil
		if err != nil {
			f.fail(err)
			up.Close()
			f.end()
			c.reset()
			return
		}
	}
	r := relay{idle: p.limits.Raw}
	r.last.Store(time.Now().UnixNano())
	done := make(chan error, 1)
	go func() {
		done <- r.copy(up, c.TCPConn, &f.up)
	}()
	down := r.copy(c.TCPConn, up, &f.down)
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

// relay is one pair of directions.
type relay struct {
	idle time.Duration
	last atomic.Int64 // when a byte last moved, either way
	dead atomic.Bool
}

// copy moves bytes from src to dst, then ends dst's direction. A direction may
// be silent as long as the other is not. An error ends both.
func (r *relay) copy(dst, src net.Conn, count *atomic.Int64) error {
	for {
		until := time.Unix(0, r.last.Load()).Add(r.idle)
		src.SetReadDeadline(until)  //nolint:errcheck // fails in the copy
		dst.SetWriteDeadline(until) //nolint:errcheck // the same
		n, err := io.Copy(dst, src)
		count.Add(n)
		now := time.Now()
		if n > 0 {
			r.last.Store(now.UnixNano())
		}
		switch {
		case err == nil:
			if cw, ok := dst.(interface{ CloseWrite() error }); ok {
				cw.CloseWrite() //nolint:errcheck // gone already, then
			}
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && !r.dead.Load():
			if now.Sub(time.Unix(0, r.last.Load())) < r.idle {
				continue // the other direction was busy
			}
			err = errIdle
		}
		// Wake the other direction: what it waits for has no reader any more.
		r.dead.Store(true)
		past := time.Unix(1, 0)
		src.SetDeadline(past) //nolint:errcheck // gone already, then
		dst.SetDeadline(past) //nolint:errcheck // the same
		return err
	}
}

const errIdle flowError = "no byte either way for too long"
