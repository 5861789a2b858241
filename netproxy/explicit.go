package netproxy

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/internal/wire"
	"github.com/penstock/penstock/policy"
)

// explicit serves a connection to the pen's proxy port.
func (p *Proxy) explicit(c *conn) {
	c.original = addrPort(c.LocalAddr())
	c.client = addrPort(c.RemoteAddr())
	c.open = true
	p.ask(c, c.original)
	if err := c.fill(1, p.limits.FirstByte, func([]byte) error { return nil }); err != nil {
		c.Close()
		return
	}
	switch b := c.prefix[0]; {
	case b == 5:
		p.socks(c)
	case b == 4:
		c.Write([]byte{0, 0x5b, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // SOCKS4: rejected; closing all the same
		p.unusable(c, "SOCKS4 on the proxy port: use SOCKS5, which names hosts")
	case b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b == '\r':
		p.serveHTTP(c, kindHTTP1)
	default:
		p.unusable(c, "the proxy port speaks HTTP and SOCKS5")
	}
}

// unusable refuses a connection to the proxy port that names no target.
func (p *Proxy) unusable(c *conn, reason string) {
	p.malformedConn(c, reason)
	c.finish()
}

// socks serves RFC 1928: no authentication, or the proxy's login; CONNECT only.
func (p *Proxy) socks(c *conn) {
	var n int
	var ok bool
	method := byte(wire.SOCKSOpen)
	if c.stranger() {
		method = wire.SOCKSPassword
	}
	err := c.fill(wire.MaxSOCKS, p.limits.Handshake, func(b []byte) (err error) {
		ok, n, err = wire.SOCKSGreeting(b, method)
		return err
	})
	if err != nil {
		p.unusable(c, "SOCKS greeting: "+plainError(err))
		return
	}
	if !ok {
		c.Write([]byte{5, 0xff}) //nolint:errcheck // closing all the same
		p.unusable(c, "SOCKS client insists on authentication; none is needed here")
		return
	}
	c.prefix = c.prefix[n:]
	if method == wire.SOCKSPassword {
		if !p.socksLogin(c) {
			return
		}
	} else if _, err := c.Write([]byte{5, wire.SOCKSOpen}); err != nil {
		c.Close()
		return
	}
	var r wire.SOCKSRequest
	err = c.fill(wire.MaxSOCKS, p.limits.Handshake, func(b []byte) (err error) {
		r, n, err = wire.ParseSOCKSRequest(b)
		return err
	})
	if err != nil {
		c.Write(wire.SOCKSReply(wire.SOCKSFailure)) //nolint:errcheck // closing all the same
		p.unusable(c, "SOCKS request: "+plainError(err))
		return
	}
	c.prefix = c.prefix[n:]
	if !r.Connect {
		c.Write(wire.SOCKSReply(wire.SOCKSCommandUnsupported)) //nolint:errcheck // closing all the same
		p.unusable(c, "SOCKS command other than CONNECT")
		return
	}
	t := hooks.Target{Addr: r.Addr, Port: r.Port}
	if r.Name != "" {
		if t, err = p.parseAuthority(net.JoinHostPort(r.Name, utoa(r.Port)), 80); err != nil {
			c.Write(wire.SOCKSReply(wire.SOCKSHostUnreachable)) //nolint:errcheck // closing all the same
			p.unusable(c, "SOCKS name: "+cause(err))
			return
		}
	}
	c.open = false
	c.bindTarget(p.named(t))
	may := c.opener.connect(p.rules.Load().policy, c.target)
	if !p.reachable(&may) {
		c.Write(wire.SOCKSReply(wire.SOCKSDenied)) //nolint:errcheck // closing all the same
		p.refuseOpen(c, may.TCP)
		c.finish()
		return
	}
	if _, err := c.Write(wire.SOCKSReply(wire.SOCKSSucceeded)); err != nil {
		c.Close()
		return
	}
	p.tunnel(c)
}

// reachable says whether anything at all could be allowed at a target.
func (p *Proxy) reachable(may *policy.Connect) bool {
	return p.cfg.Permissive || may.Possible()
}

// refuseOpen records that a target was refused before a byte was sent to it.
func (p *Proxy) refuseOpen(c *conn, v policy.Verdict) *flow {
	f := p.newFlow(&c.binding)
	f.req.Protocol, f.req.Target = hooks.ProtocolTCP, c.target
	v.Action = hooks.Deny
	f.verdict(v, false)
	f.begin() //nolint:errcheck // refused either way
	f.class = "denied"
	f.end()
	return f
}

// connect serves an HTTP CONNECT request on the proxy port.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request, hc *httpConn) {
	c := hc.pen
	t, err := p.parseAuthority(r.Host, 443)
	if err != nil {
		p.answerRefusal(w, r, &c.binding, malformed("CONNECT target: "+cause(err)))
		return
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		p.answerRefusal(w, r, &c.binding, malformed("CONNECT with a body"))
		return
	}
	inner := c.binding
	inner.open = false
	inner.bindTarget(t)
	may := inner.opener.connect(p.rules.Load().policy, t)
	// A refused CONNECT is a mystery to most clients, which show its status and
	// drop its text. Where TLS or HTTP is to be expected, the refusal is given to
	// the request inside, as it is for a captured connection.
	if web := t.Port == 443 || t.Port == 80; !web && !p.reachable(&may) {
		v := may.TCP
		v.Action = hooks.Deny
		p.answerDeny(w, r, &inner, v)
		return
	}
	raw, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.answerRefusal(w, r, &c.binding, &refusal{http.StatusHTTPVersionNotSupported, "malformed", "CONNECT needs HTTP/1.1"})
		return
	}
	p.sweeper.forget(c)
	raw.SetDeadline(time.Time{}) //nolint:errcheck // a dead connection fails below
	// Bytes that came with the request are the beginning of the tunnel.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	c.prefix = append(append([]byte(nil), early...), hc.rest()...)
	c.binding = inner
	if _, err := c.TCPConn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		c.Close()
		return
	}
	p.tunnel(c)
}

// plainError is an error's text for a reason: no bytes of the peer.
func plainError(err error) string {
	var ne net.Error
	if errors.As(err, &ne) {
		if ne.Timeout() {
			return "not complete in time"
		}
		return "connection lost"
	}
	return err.Error()
}
