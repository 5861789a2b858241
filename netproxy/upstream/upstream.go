package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// Times of one attempt. A caller's context may end it sooner.
const (
	// DefaultAnswer is how long a proxy may take to connect: they try for a
	// minute themselves.
	DefaultAnswer = 65 * time.Second
	tlsTimeout    = 15 * time.Second
	// restFor is how long a proxy that could not be reached is asked last.
	restFor = 30 * time.Second
	// maxAnswer bounds the head of an answer to CONNECT, in bytes.
	maxAnswer = 64 << 10
)

// Config is what an Upstream is made of. Proxy and Dial are needed.
type Config struct {
	Proxy *policy.Upstream
	Login *secrets.Login // nil: none
	// Dial connects to one of the proxies; it is the dial guard's.
	Dial func(ctx context.Context, t hooks.Target, d *policy.Dial) (net.Conn, error)
	// Roots are for the certificates of HTTPS proxies; nil is the system's.
	Roots func() (*x509.CertPool, error)
	// Certificate is what an HTTPS proxy is shown, nil for none; so is a nil function.
	Certificate func() (*tls.Certificate, error)

	Answer time.Duration // DefaultAnswer if zero
}

// Upstream is a named proxy, or several of which one will do. It is safe for
// concurrent use.
type Upstream struct {
	cfg        Config
	negotiator *negotiator // nil: a password, or nothing
	account    *ntlmLogin  // nil: no NTLM

	mu        sync.Mutex
	rest      []time.Time // until when each proxy is asked last
	ntlmUntil time.Time   // until when nobody logs in by NTLM
	met       time.Time   // until when it counts as one that can be reached
}

// New returns the upstream.
func New(c Config) *Upstream {
	if c.Answer <= 0 {
		c.Answer = DefaultAnswer
	}
	u := &Upstream{cfg: c, rest: make([]time.Time, len(c.Proxy.Proxies()))}
	if c.Login != nil && c.Login.Auth == policy.NTLM {
		u.account = &ntlmLogin{hash: c.Login.NTHash()}
		u.account.domain, u.account.user = splitDomain(c.Login.User)
	}
	if c.Login != nil && c.Login.Auth == policy.Negotiate {
		u.negotiator = &negotiator{
			service: types.NewPrincipalName(nametype.KRB_NT_SRV_HST, "HTTP/"+c.Proxy.Proxies()[0].Target.Host),
			kdcs:    c.Proxy.KDCs(), cache: c.Login.Cache(),
			dial: func(ctx context.Context, k policy.Proxy) (net.Conn, error) { return c.Dial(ctx, k.Target, k.Dial) },
		}
	}
	return u
}

// Name returns the policy's name for it.
func (u *Upstream) Name() string { return u.cfg.Proxy.Name }

// Web says whether it takes requests with an absolute URL.
func (u *Upstream) Web() bool { return u.cfg.Proxy.Scheme() != "socks5" }

// LogsIn says whether it gets credentials.
func (u *Upstream) LogsIn() bool { return u.cfg.Login != nil }

// Authorization returns the value of Proxy-Authorization for one request, "" for
// none, or if connections log in by themselves. With Kerberos it may ask a KDC.
func (u *Upstream) Authorization(ctx context.Context) (string, error) {
	switch {
	case u.cfg.Login == nil || u.account != nil:
		return "", nil
	case u.negotiator == nil:
		return u.cfg.Login.Basic(), nil
	}
	v, err := u.negotiator.token(ctx)
	if err != nil {
		return "", u.fail(0, hooks.Target{}, err)
	}
	return v, nil
}

// Tunnel returns a connection to t, made by the first proxy that can be reached.
// What that one answers counts: a refusal is not taken to the next.
func (u *Upstream) Tunnel(ctx context.Context, t hooks.Target) (net.Conn, error) {
	login := ""
	if u.Web() {
		var err error
		if login, err = u.Authorization(ctx); err != nil {
			return nil, err
		}
	}
	return u.try(ctx, func(i int, c net.Conn) (net.Conn, error) {
		end := within(ctx, c, u.cfg.Answer)
		var err error
		if u.Web() {
			c, err = u.connect(c, i, t, login)
		} else {
			err = u.socks(c, t)
		}
		end()
		if err != nil {
			return nil, u.fail(i, t, err)
		}
		return c, nil
	})
}

// Dial returns a connection to the first proxy that can be reached, for requests
// with absolute URLs.
func (u *Upstream) Dial(ctx context.Context) (net.Conn, error) {
	return u.try(ctx, func(i int, c net.Conn) (net.Conn, error) {
		if _, ok := c.(*tls.Conn); ok {
			c = &alertConn{c, u, i}
		}
		if u.account != nil {
			return newNTLMConn(c, u, i), nil
		}
		return c, nil
	})
}

// Ready says whether one of its proxies can be reached, as it was tried a short while
// ago or now.
func (u *Upstream) Ready(ctx context.Context) error {
	u.mu.Lock()
	now := time.Now()
	met := now.Before(u.met)
	down := !slices.ContainsFunc(u.rest, func(t time.Time) bool { return !now.Before(t) })
	u.mu.Unlock()
	switch {
	case down:
		return u.fail(0, hooks.Target{}, errResting)
	case met:
		return nil
	}
	c, err := u.try(ctx, func(_ int, c net.Conn) (net.Conn, error) { return c, nil })
	if err != nil {
		return err
	}
	c.Close()
	u.mu.Lock()
	u.met = now.Add(restFor)
	u.mu.Unlock()
	return nil
}

// try has use make something of a connection to each proxy in turn.
func (u *Upstream) try(ctx context.Context, use func(i int, c net.Conn) (net.Conn, error)) (net.Conn, error) {
	// However many proxies there are.
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Answer+30*time.Second)
	defer cancel()
	var last *Error
	order := u.order()
	for _, i := range order {
		c, err := u.reach(ctx, i)
		var out net.Conn
		if err == nil {
			out, err = use(i, c)
		}
		if err == nil {
			u.mark(i, time.Time{})
			return out, nil
		}
		if c != nil {
			c.Close()
		}
		e, ok := err.(*Error) //nolint:errorlint // made here
		if !ok {
			e = u.fail(i, hooks.Target{}, err)
		}
		if last != nil {
			e.others = last.others + 1
		}
		last = e
		if ctx.Err() != nil || e.answered() {
			break // nobody waits for it any more, or it has said what there is to say
		}
		u.mark(i, time.Now().Add(restFor))
	}
	return nil, last
}

// order is the policy's, with those at the end that could not be reached lately.
func (u *Upstream) order() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	var first, later []int
	for i, t := range u.rest {
		if now.Before(t) {
			later = append(later, i)
		} else {
			first = append(first, i)
		}
	}
	return append(first, later...)
}

func (u *Upstream) mark(i int, until time.Time) {
	u.mu.Lock()
	u.rest[i] = until
	u.mu.Unlock()
}

// reach connects to one proxy, with TLS if that is how it is spoken to.
func (u *Upstream) reach(ctx context.Context, i int) (net.Conn, error) {
	p := u.cfg.Proxy.Proxies()[i]
	c, err := u.cfg.Dial(ctx, p.Target, p.Dial)
	if err != nil || u.cfg.Proxy.Scheme() != "https" {
		return c, err
	}
	cfg := &tls.Config{ServerName: p.Target.Name(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if u.cfg.Roots != nil {
		if cfg.RootCAs, err = u.cfg.Roots(); err != nil {
			return c, err
		}
	}
	if u.cfg.Certificate != nil {
		cert, err := u.cfg.Certificate()
		if err != nil {
			return c, err
		}
		if cert != nil {
			// Also if the proxy's list of authorities does not have this one's.
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
	}
	tc := tls.Client(c, cfg)
	end := within(ctx, c, tlsTimeout)
	err = tc.Handshake()
	end()
	if err != nil {
		return c, &tlsError{err}
	}
	return tc, nil
}

// alertConn says whose an alert of TLS is: with TLS 1.3 a proxy says what it thinks of
// a certificate behind the handshake only.
type alertConn struct {
	net.Conn
	up *Upstream
	i  int
}

// Read reads, and explains an alert.
func (c *alertConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		err = c.up.fail(c.i, hooks.Target{}, err)
	}
	return n, err
}

// Write writes, and explains an alert that came before.
func (c *alertConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		err = alerted(c.Conn, err)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		err = c.up.fail(c.i, hooks.Target{}, err)
	}
	return n, err
}

// alerted returns the alert of TLS that is there to be read when a write fails with
// err: who closes at once behind it resets what is still sent. Without one it is err.
func alerted(c net.Conn, err error) error {
	if _, ok := c.(*tls.Conn); !ok {
		return err
	}
	c.SetReadDeadline(time.Now().Add(alertTime)) //nolint:errcheck // it has ended
	_, rerr := c.Read(make([]byte, 1))
	var op *net.OpError
	if errors.As(rerr, &op) && op.Op == "remote error" {
		return rerr
	}
	return err
}

// alertTime bounds the look for an alert on a connection that is reset: it has come, or
// never will.
const alertTime = 100 * time.Millisecond

// within gives a connection a deadline, which the end of ctx brings forward. The
// function that it returns takes it away.
func within(ctx context.Context, c net.Conn, d time.Duration) (end func()) {
	c.SetDeadline(time.Now().Add(d)) //nolint:errcheck // a dead connection fails at the next use
	stop := context.AfterFunc(ctx, func() {
		c.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // the same
	})
	return func() {
		if stop() {
			c.SetDeadline(time.Time{}) //nolint:errcheck // the same
		}
	}
}

// Failed is the error for what the proxy itself answered to a request with an
// absolute URL.
func (u *Upstream) Failed(t hooks.Target, err error) error {
	e := u.fail(0, t, err)
	e.Proxy = strings.Join(u.cfg.Proxy.URLs, ", ") // one of them
	return e
}

// fail says at which proxy and for which target something failed.
func (u *Upstream) fail(i int, t hooks.Target, err error) *Error {
	e := &Error{Upstream: u.Name(), Proxy: u.cfg.Proxy.URLs[i], Target: t, Err: err}
	e.Certified = u.cfg.Proxy.Client.Key != ""
	if u.cfg.Login != nil {
		e.Login, e.Auth = true, u.cfg.Login.Auth
	}
	return e
}
