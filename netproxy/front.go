package netproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/internal/wire"
	"github.com/penstock/penstock/policy"
)

// ServeCaptured serves connections that the pen believes to be somewhere else.
// It returns when l ends or the proxy is closed; l is closed then.
func (p *Proxy) ServeCaptured(l net.Listener) error { return p.serve(l, p.captured) }

// ServeExplicit serves the pen's proxy port: HTTP requests with absolute URLs,
// CONNECT, and SOCKS5, told apart by the first byte.
func (p *Proxy) ServeExplicit(l net.Listener) error { return p.serve(l, p.explicit) }

func (p *Proxy) serve(l net.Listener, handle func(*conn)) error {
	defer l.Close()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	p.listeners[l] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.listeners, l)
		p.mu.Unlock()
	}()
	var wait time.Duration
	for {
		nc, err := l.Accept()
		if err != nil {
			p.mu.Lock()
			closed := p.closed
			p.mu.Unlock()
			switch {
			case closed:
				return ErrClosed
			case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
				return fmt.Errorf("accept connection: %w", err)
			}
			// Out of descriptors: those in use end some day. Anything else that
			// persists is as good as closed.
			if wait = max(2*wait, 5*time.Millisecond); wait > 5*time.Second {
				return fmt.Errorf("accept connection: %w", err)
			}
			time.Sleep(wait)
			continue
		}
		wait = 0
		tc, ok := nc.(*net.TCPConn)
		if !ok {
			nc.Close()
			continue
		}
		p.accept(tc, handle)
	}
}

func (p *Proxy) accept(tc *net.TCPConn, handle func(*conn)) {
	c := &conn{TCPConn: tc, p: p}
	c.probe.open(tc)
	c.conn = p.conns.Add(1)
	if n := p.open.Add(1); n > int64(p.limits.Connections) {
		p.open.Add(-1)
		p.stats.overload()
		reset(tc)
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.open.Add(-1)
		tc.Close()
		return
	}
	p.live[c] = struct{}{}
	p.serving.Add(1)
	p.mu.Unlock()
	go func() {
		defer p.serving.Done()
		defer func() {
			// A panic here is ours, in the parser of a first byte: that connection
			// is refused and the others live on.
			if v := recover(); v != nil {
				p.panicked(&c.binding, audit.Violation{Target: c.target, Action: "closed"}, v)
				c.reset()
			}
		}()
		handle(c)
	}()
}

// conn is a connection of the pen, from its accept to its end.
type conn struct {
	*net.TCPConn
	binding
	p      *Proxy
	prefix []byte // read already
	closed onceFlag
	waits  waits
	probe  probe
	cork   cork
	met    met
	// admitted: to the proxy port, by the login; see stranger.
	admitted atomic.Bool
}

// Read gives what was read already, then what comes.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
			c.prefix = nil
		}
		return n, nil
	}
	return c.probe.read(c.TCPConn, b)
}

// Write holds bytes back while the connection is corked.
func (c *conn) Write(b []byte) (int, error) { return c.cork.write(c.TCPConn, b) }

// Close ends the connection and its accounting, once.
func (c *conn) Close() error {
	if !c.closed.set() {
		return nil
	}
	c.p.open.Add(-1)
	c.p.untrack(c)
	c.p.sweeper.forget(c)
	return c.TCPConn.Close()
}

// reset closes with a reset: the peer sees a refusal, not an end of data.
func (c *conn) reset() {
	c.TCPConn.SetLinger(0) //nolint:errcheck // closing all the same
	c.Close()
}

func reset(tc *net.TCPConn) {
	tc.SetLinger(0) //nolint:errcheck // closing all the same
	tc.Close()
}

// fill reads until enough says so. The deadline is for all of it.
func (c *conn) fill(limit int, wait time.Duration, enough func([]byte) error) error {
	for waiting := false; ; {
		if len(c.prefix) > 0 {
			if err := enough(c.prefix); !errors.Is(err, wire.ErrShort) {
				return err
			}
		}
		if !waiting { // mostly the first message is whole in the first read
			waiting = true
			c.SetReadDeadline(time.Now().Add(wait)) //nolint:errcheck // a dead connection fails in Read
			defer c.SetReadDeadline(time.Time{})    //nolint:errcheck // the same
		}
		if len(c.prefix) >= limit {
			return fmt.Errorf("first message is longer than %d bytes", limit)
		}
		if cap(c.prefix)-len(c.prefix) < 512 {
			grown := make([]byte, len(c.prefix), max(2048, 2*cap(c.prefix)))
			copy(grown, c.prefix)
			c.prefix = grown
		}
		n, err := c.TCPConn.Read(c.prefix[len(c.prefix):cap(c.prefix)])
		c.prefix = c.prefix[:len(c.prefix)+n]
		if n == 0 && err != nil {
			return err
		}
	}
}

// captured serves a connection whose target is its original destination.
func (p *Proxy) captured(c *conn) {
	dst, err := p.originalDst(c.TCPConn)
	if err != nil || dst.Port() == 0 || !dst.Addr().IsValid() {
		// Without a destination there is nothing to judge.
		p.violation(nil, audit.Violation{Kind: "no-target", Detail: "connection without a known destination", Action: "closed"})
		c.reset()
		return
	}
	c.original = dst
	c.client = addrPort(c.RemoteAddr())
	p.ask(c, dst)
	c.bindTarget(p.named(hooks.Target{Addr: dst.Addr().Unmap().WithZone(""), Port: dst.Port()}))
	p.tunnel(c)
}

func (p *Proxy) originalDst(tc *net.TCPConn) (netip.AddrPort, error) {
	if p.cfg.OriginalDst != nil {
		return p.cfg.OriginalDst(tc)
	}
	return addrPort(tc.LocalAddr()), nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// tunnel serves a connection with one target: captured, or asked for by CONNECT
// or SOCKS.
func (p *Proxy) tunnel(c *conn) {
	gen := p.rules.Load()
	may := c.opener.connect(gen.policy, c.target)
	if may.Raw || may.RawAsk && p.cfg.Desk != nil {
		// Before any byte: the server may be the one that speaks first.
		p.relayTCP(c, gen, may.TCP, false)
		return
	}
	kind, err := p.classify(c, &may)
	switch kind {
	case kindTLS:
		p.tunnelTLS(c, gen, &may)
	case kindHTTP1, kindHTTP2:
		p.serveHTTP(c, kind)
	default:
		if may.TCP.Action == hooks.Allow || p.cfg.Permissive || p.asksRaw(c, &may) && err != error(errClosedEarly) {
			p.relayTCP(c, gen, may.TCP, p.cfg.Permissive)
			return
		}
		p.refuse(c, hooks.ProtocolTCP, may.TCP, err)
	}
}

// asksRaw says whether a person is to be asked about raw bytes to c's target. By
// default that is not so at the ports of the web: there a connection that says
// nothing was opened ahead.
func (p *Proxy) asksRaw(c *conn, may *policy.Connect) bool {
	return may.TCP.Action == hooks.Ask && p.cfg.Desk != nil && (may.TCP.Rule != nil || c.target.Port != 443 && c.target.Port != 80)
}

// kind is what a connection speaks, by its first bytes.
type kind uint8

const (
	kindUnknown kind = iota
	kindTLS
	kindHTTP1
	kindHTTP2
)

// classify reads the first bytes of a connection. An error goes with kindUnknown
// and says what was wrong with them.
func (p *Proxy) classify(c *conn, may *policy.Connect) (k kind, err error) {
	wait := p.limits.FirstByte
	switch {
	case p.cfg.Permissive || may.TCP.Action == hooks.Allow || p.asksRaw(c, may):
		wait = time.Second // then it is the server that speaks first
	case !may.Possible():
		wait = p.limits.Refused
	}
	err = c.fill(1, wait, func([]byte) error { return nil })
	if err == nil {
		err = c.fill(24, p.limits.Handshake, func(b []byte) error {
			if k = kindOf(b); k == kindUnknown {
				return errUnknownProtocol
			}
			if k == kindShort {
				k = kindUnknown
				return wire.ErrShort
			}
			return nil
		})
	}
	switch {
	case err == nil:
		return k, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && len(c.prefix) == 0:
		err = errSilent
	case len(c.prefix) == 0:
		err = errClosedEarly
	}
	return kindUnknown, err
}

// kindShort asks for more bytes.
const kindShort kind = 255

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// kindOf tells protocols apart by what no other of them can begin with.
func kindOf(b []byte) kind {
	if ok, short := wire.IsTLS(b); ok {
		return kindTLS
	} else if short {
		return kindShort
	}
	n := min(len(b), len(preface))
	if string(b[:n]) == preface[:n] {
		if n == len(preface) {
			return kindHTTP2
		}
		// "P" may be POST, PUT, PATCH…
		return kindShort
	}
	for i, c := range b {
		switch {
		case c == ' ' && i > 0:
			return kindHTTP1
		case c == '\r' && i == 0:
			return kindHTTP1 // an empty line before the request line; the filter judges
		case i >= 20, c < 'A' || c > 'Z' && c != '_' && (c < 'a' || c > 'z'):
			if c == '-' && i > 0 && i < 20 {
				continue
			}
			return kindUnknown
		}
	}
	return kindShort
}

// flowError is why a connection was refused without a verdict of the policy.
type flowError string

func (e flowError) Error() string { return string(e) }

const (
	errUnknownProtocol flowError = "its first bytes are neither TLS nor HTTP, and no rule allows raw TCP to it"
	errSilent          flowError = "it sent nothing in time, and no rule allows raw TCP, where the server speaks first"
	errClosedEarly     flowError = "it was closed before it sent anything"
)

// refuse records the refusal of a whole connection and resets it.
func (p *Proxy) refuse(c *conn, proto hooks.Protocol, v policy.Verdict, cause error) {
	f := p.newFlow(&c.binding)
	f.req.Protocol, f.req.Target = proto, c.target
	// Clients open connections ahead and leave them unused: recorded, but nothing
	// that a user has to hear was denied, and no rule has denied it.
	if f.uncounted = cause == error(errClosedEarly); f.uncounted {
		v = policy.Verdict{}
	}
	f.verdict(v, false)
	if cause != nil && v.Rule == nil {
		f.open.Reason = cause.Error()
		if v.Reason != "" {
			f.open.Reason += "; " + v.Reason
		}
	}
	f.begin() //nolint:errcheck // refused either way
	f.class, f.err = "denied", cause
	f.end()
	c.reset()
}
