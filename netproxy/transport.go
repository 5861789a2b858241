package netproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// generation is a policy with the transports of its dial profiles: a connection
// that was checked under one profile is never used under another.
type generation struct {
	p      *Proxy
	policy *policy.Policy
	hooks  *chain.Chain // of the policy and of the Config
	broken error        // why the hooks can't be asked
	roots  func() (*x509.CertPool, error)
	meters map[*policy.Budget]meter

	mu         sync.Mutex
	transports map[transportKey]*http.Transport
	upstreams  map[string]*upstream.Upstream
	ends       []func()                        // of who the hooks ask
	chosen     map[chosen][]*upstream.Upstream // by PAC files
	closed     bool
}

// flavour is what a transport speaks.
type flavour uint8

const (
	flavourHTTP1 flavour = iota // also in TLS
	flavourHTTP2                // in TLS; HTTP/1.1 if the upstream has no other
	flavourH2C                  // HTTP/2 in clear
)

type transportKey struct {
	profile int // 0: public addresses only
	flavour flavour
	whole   string // upstream that gets whole URLs; "" for connections to the target
	by      string // way of these by a hook's word, "" by the policy's
}

func (p *Proxy) newGeneration(pol *policy.Policy) *generation {
	g := &generation{
		p: p, policy: pol, meters: p.ledger.meters(pol), transports: make(map[transportKey]*http.Transport), upstreams: make(map[string]*upstream.Upstream),
	}
	g.roots = sync.OnceValues(func() (*x509.CertPool, error) {
		if p.cfg.Roots == nil {
			return nil, nil //nolint:nilnil // crypto/tls takes the system's
		}
		pool, err := p.cfg.Roots()
		if err != nil {
			return nil, fmt.Errorf("read certificates of upstreams: %w", err)
		}
		return pool, nil
	})
	if g.hooks, g.broken = HooksOf(pol, g.asker, p.cfg.Hooks...); g.broken != nil {
		g.policy = new(policy.Policy) // a policy whose hooks can't be asked allows nothing
	}
	return g
}

// close drops idle connections; those in use end with their flows.
func (g *generation) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, t := range g.transports {
		t.CloseIdleConnections()
	}
	for _, f := range g.ends {
		f()
	}
}

// transport returns the one for a dial profile and flavour, or for an upstream
// that gets whole URLs. A target has one way, or by is another (see ways), so
// connections to it can't be mixed up with those of another way.
func (g *generation) transport(d *policy.Dial, f flavour, whole *upstream.Upstream, by string) (*http.Transport, error) {
	key := transportKey{flavour: f}
	if whole != nil {
		key.whole = whole.Name()
	} else {
		if key.by = by; d != nil {
			key.profile = d.ID
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t, ok := g.transports[key]; ok {
		return t, nil
	}
	roots, err := g.roots()
	if err != nil {
		return nil, err
	}
	t := g.newTransport(roots, d, f, by)
	if whole != nil {
		t.Proxy = proxyURL
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := whole.Dial(ctx)
			if err != nil {
				return nil, &dialError{err}
			}
			return newUpstreamConn(nc), nil
		}
	}
	g.transports[key] = t
	return t, nil
}

func (g *generation) newTransport(roots *x509.CertPool, d *policy.Dial, f flavour, by string) *http.Transport {
	p := g.p
	t := &http.Transport{
		Proxy: nil, // never the environment's
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			target, err := splitTarget(addr)
			if err != nil {
				return nil, err
			}
			nc, err := g.dial(ctx, target, d, by)
			if err != nil {
				return nil, err
			}
			return newUpstreamConn(nc), nil
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(256)},
		TLSHandshakeTimeout:   p.limits.UpstreamReply,
		DisableCompression:    true, // bodies pass as they are
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       p.limits.UpstreamIdle,
		ExpectContinueTimeout: 2 * time.Second,
		// No ResponseHeaderTimeout: a model may think for minutes, and a client
		// that has enough of waiting goes away, which is passed on.
		MaxResponseHeaderBytes: 256 << 10,
		Protocols:              new(http.Protocols),
	}
	switch f {
	case flavourHTTP1:
		t.Protocols.SetHTTP1(true)
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	case flavourHTTP2:
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
		t.ForceAttemptHTTP2 = true
	case flavourH2C:
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	if f != flavourHTTP1 {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: 30 * time.Second}
	}
	return t
}

// splitTarget undoes hooks.Target.String, whose results alone get here.
func splitTarget(addr string) (hooks.Target, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return hooks.Target{}, fmt.Errorf("dial upstream: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return hooks.Target{}, fmt.Errorf("dial upstream: %w", err)
	}
	t := hooks.Target{Port: uint16(n)}
	if a, err := netip.ParseAddr(host); err == nil {
		t.Addr = a
	} else {
		t.Host = host
	}
	return t, nil
}

// isTLSError reports whether the upstream failed in its handshake.
func isTLSError(err error) bool {
	var (
		cert  *tls.CertificateVerificationError
		rec   tls.RecordHeaderError
		alert *net.OpError
	)
	return errors.As(err, &cert) || errors.As(err, &rec) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
