package netproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/internal/wire"
	"github.com/penstock/penstock/policy"
)

// serverTLS is the one configuration towards pens, so that session tickets
// resume. The certificate is for the bound name, not for what the client asks.
func (p *Proxy) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, ok := hello.Conn.(*conn)
			if !ok {
				return nil, errors.New("connection without a target")
			}
			return p.cfg.Leaves.Leaf(c.leafName())
		},
	}
}

// leafName is whose certificate the client is shown: that of the bound name, or
// on a mismatch of the one it asked for, so that it gets to read the 421.
func (b *binding) leafName() string {
	if b.sni != "" {
		return b.sni
	}
	return b.target.Name()
}

// tunnelTLS reads the hello and passes the connection through or terminates it.
func (p *Proxy) tunnelTLS(c *conn, gen *generation, may *policy.Connect) {
	var hello *wire.ClientHello
	err := c.fill(wire.MaxHelloWire, p.limits.Handshake, func(b []byte) (err error) {
		hello, err = wire.ParseClientHello(b)
		return err
	})
	if err != nil {
		p.malformedConn(c, "TLS: "+plainError(err))
		c.reset()
		return
	}
	name := ""
	if hello.ServerName != "" {
		if name, err = policy.CanonicalHost(hello.ServerName); err != nil {
			p.malformedConn(c, "TLS server name: "+cause(err))
			c.reset()
			return
		}
	}
	same := name == c.target.Host // an address has no name and needs no SNI
	if may.PassThrough != nil {
		switch {
		case !same || name == "":
			p.refuseTLS(c, may.PassThrough, "the TLS server name is not the name of the connection")
		case hello.ECH:
			// The name that counts could be the encrypted one.
			p.refuseTLS(c, may.PassThrough, "its ClientHello is encrypted (ECH), which can't be passed through unread")
		default:
			p.passThrough(c, gen, hello)
		}
		return
	}
	if !same && name != "" {
		c.sni = name
		c.mismatch = "the TLS server name is " + name + ", the connection is to " + c.target.String()
	}
	p.terminate(c)
}

func (p *Proxy) refuseTLS(c *conn, rule *policy.Rule, reason string) {
	f := p.newFlow(&c.binding)
	f.req.Protocol, f.req.Target = hooks.ProtocolTLS, c.target
	f.verdict(policy.Verdict{Action: hooks.Deny, Rule: rule, Reason: reason}, false)
	f.begin() //nolint:errcheck // refused either way
	f.class = "denied"
	f.end()
	p.violation(&c.binding, audit.Violation{Kind: "target-mismatch", Detail: reason, Flow: f.req.Flow, Target: c.target, Action: "closed"})
	c.reset()
}

// terminate answers the handshake and hands the connection to the HTTP server.
func (p *Proxy) terminate(c *conn) {
	tc := tls.Server(c, p.tls)
	p.sweeper.watch(c) // ends a handshake that takes too long
	if err := tc.Handshake(); err != nil {
		p.handshakeFailed(c, err)
		c.Close()
		return
	}
	c.setTLS(true)
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		// net/http serves HTTP/2 on a *tls.Conn only.
		if !p.feed.push(tc) {
			c.Close()
		}
		return
	}
	p.pushHTTP1(c, tc)
}

// handshakeFailed tells a client that does not trust our certificate from one
// that is broken.
func (p *Proxy) handshakeFailed(c *conn, err error) {
	class, detail := "tls-client", "TLS handshake with the client: "+plainTLSError(err)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		class = "client-rejects-ca"
		detail = "the client does not accept Penstock's certificate: it pins certificates or has a trust store of its own. " +
			"Give it the CA by its own variable (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE…), or pass the host through unread by a rule with inspect: false"
		if p.stats.pinned(c.target.Name()) && p.cfg.Notice != nil {
			p.cfg.Notice(c.target.String() + ": " + detail)
		}
	}
	f := p.newFlow(&c.binding)
	f.req.Protocol, f.req.Target = hooks.ProtocolHTTPS, c.target
	f.verdict(policy.Verdict{Action: hooks.Deny, Reason: detail}, false)
	f.begin() //nolint:errcheck // refused either way
	f.class, f.err = class, err
	f.end()
}

// plainTLSError is an error of crypto/tls without addresses.
func plainTLSError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		if op.Timeout() {
			return "not complete in time"
		}
		return op.Err.Error()
	}
	return err.Error()
}

// verifiedFor is how long a verified upstream address is believed.
const verifiedFor = 3 * time.Minute

// verified remembers which addresses showed a valid certificate for a name.
type verified struct {
	mu   sync.Mutex
	seen map[verifiedKey]time.Time
}

type verifiedKey struct {
	name string
	via  string // upstream
	addr netip.AddrPort
}

func (v *verified) has(k verifiedKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.seen[k])
}

func (v *verified) add(k verifiedKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) >= 1024 {
		v.seen = make(map[verifiedKey]time.Time)
	}
	v.seen[k] = time.Now().Add(verifiedFor)
}

// passThrough splices a TLS connection unread to an address that has shown a
// valid certificate for the bound name.
func (p *Proxy) passThrough(c *conn, gen *generation, hello *wire.ClientHello) {
	f := p.newFlow(&c.binding)
	f.gen = gen
	f.req.Protocol, f.req.Target = hooks.ProtocolTLS, c.target
	v := gen.policy.Decide(&f.req)
	if !p.opens(c, f, v, p.cfg.Permissive) {
		return
	}
	up, err := p.dialVerified(c, f, hello)
	if err != nil {
		f.fail(err)
		f.end()
		c.reset()
		return
	}
	p.splice(c, up, f)
}

// denyConn records and resets.
func (p *Proxy) denyConn(c *conn, f *flow) {
	f.begin() //nolint:errcheck // refused either way
	if f.class == "" {
		f.class = "denied"
	}
	f.end()
	c.reset()
}

// dialVerified dials until it has a connection to an address that verified. With
// several addresses behind a name, the second dial can land elsewhere.
func (p *Proxy) dialVerified(c *conn, f *flow, hello *wire.ClientHello) (net.Conn, error) {
	roots, err := f.gen.roots()
	if err != nil {
		return nil, err
	}
	for range 6 {
		up, err := f.gen.dial(context.Background(), c.target, f.dial, f.routed.via)
		if err != nil {
			return nil, err
		}
		key := verifiedKey{name: c.target.Host, addr: addrPort(up.RemoteAddr())}
		if via := f.via(); via != nil {
			key.via = via.Name // which finds the target's address
		}
		if p.checked.has(key) {
			return up, nil
		}
		err = p.preflight(up, &tls.Config{ServerName: c.target.Host, NextProtos: hello.ALPN, RootCAs: roots})
		up.Close()
		if err != nil {
			return nil, err
		}
		p.checked.add(key)
	}
	return nil, errors.New("the name's addresses change with each connection")
}

// preflight makes a handshake of our own on up to see the certificate. Once that
// has verified the rest does not matter: a server that wants a certificate of
// the client ends our handshake and is right for all that.
func (p *Proxy) preflight(up net.Conn, cfg *tls.Config) error {
	ok := false
	cfg.VerifyConnection = func(tls.ConnectionState) error { ok = true; return nil }
	up.SetDeadline(time.Now().Add(p.limits.UpstreamReply)) //nolint:errcheck // fails in the handshake
	err := tls.Client(up, cfg).Handshake()
	if ok {
		return nil
	}
	return &upstreamTLSError{err}
}
