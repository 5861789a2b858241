package netproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/policy"
)

// pen is a proxy with everything round it real but the namespace: clients reach
// it over loopback, and say which address they meant by where they dial.
type pen struct {
	t        testing.TB
	p        *Proxy
	records  *records
	captured string
	explicit string
	trust    *x509.CertPool // what clients trust

	upstreamCA *ca.Authority

	mu       sync.Mutex
	cond     *sync.Cond
	original map[netip.AddrPort]netip.AddrPort // of a client's local address
	names    map[netip.Addr]string
	addrs    map[string]netip.Addr
	origins  map[string]string // target → listener
	dials    []string
}

func newAuthority(t testing.TB) (*ca.Authority, []byte) {
	t.Helper()
	f, err := ca.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := ca.New(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return a, f.Certificate
}

func parsePolicy(t testing.TB, yaml string) *policy.Policy {
	t.Helper()
	f, err := policy.Parse("test.yaml", policy.User, []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err == nil {
		p, err = p.CompileConditions(cel.Language{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newPen starts a proxy under the egress section rules.
func newPen(t testing.TB, egress string, options ...func(*Config)) *pen {
	t.Helper()
	pn := &pen{t: t, records: &records{}, original: map[netip.AddrPort]netip.AddrPort{}, names: map[netip.Addr]string{},
		addrs: map[string]netip.Addr{}, origins: map[string]string{}}
	pn.cond = sync.NewCond(&pn.mu)
	own, cert := newAuthority(t)
	pn.trust = x509.NewCertPool()
	pn.trust.AppendCertsFromPEM(cert)
	var upCert []byte
	pn.upstreamCA, upCert = newAuthority(t)
	cfg := Config{
		Session: "test", Policy: parsePolicy(t, "version: 1\negress:\n"+egress), Record: pn.records, Names: pn, Dialer: pn, Leaves: own,
		Roots: func() (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(upCert)
			return pool, nil
		},
		OriginalDst: pn.originalDst,
	}
	for _, o := range options {
		o(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pn.p = p
	pn.captured = pn.serve(p.ServeCaptured)
	pn.explicit = pn.serve(p.ServeExplicit)
	t.Cleanup(func() { p.Close() })
	return pn
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (pn *pen) serve(serve func(net.Listener) error) string {
	l := listen(pn.t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serve(l); !errors.Is(err, ErrClosed) {
			pn.t.Errorf("serve: %v", err)
		}
	}()
	pn.t.Cleanup(func() { pn.p.Close(); <-done })
	return l.Addr().String()
}

// Lookup implements Names.
func (pn *pen) Lookup(a netip.Addr) (string, bool) {
	pn.mu.Lock()
	defer pn.mu.Unlock()
	n, ok := pn.names[a]
	return n, ok
}

// address gives a name its synthetic address.
func (pn *pen) address(name string) netip.Addr {
	if a, err := netip.ParseAddr(name); err == nil {
		return a
	}
	pn.mu.Lock()
	defer pn.mu.Unlock()
	a, ok := pn.addrs[name]
	if !ok {
		n := len(pn.addrs) + 1
		a = netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
		pn.addrs[name], pn.names[a] = a, name
	}
	return a
}

func (pn *pen) originalDst(c *net.TCPConn) (netip.AddrPort, error) {
	from := addrPort(c.RemoteAddr())
	pn.mu.Lock()
	defer pn.mu.Unlock()
	for {
		if to, ok := pn.original[from]; ok {
			delete(pn.original, from)
			return to, nil
		}
		pn.cond.Wait()
	}
}

// Dial implements Dialer: origins are found by target; everything is counted.
func (pn *pen) Dial(ctx context.Context, t hooks.Target, _ *policy.Dial) (net.Conn, error) {
	pn.mu.Lock()
	to, ok := pn.origins[t.String()]
	pn.dials = append(pn.dials, t.String())
	pn.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("connect to %q: connection refused", t.Name())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to)
}

// Delegate implements Dialer.
func (pn *pen) Delegate(t hooks.Target, d *policy.Dial) (hooks.Target, error) {
	return (&dialguard.Guard{Hosts: pn.p.rules.Load().policy.Host}).Delegate(t, d)
}

func (pn *pen) dialed() []string {
	pn.mu.Lock()
	defer pn.mu.Unlock()
	return append([]string(nil), pn.dials...)
}

// dial opens a captured connection to target, as a tool in the pen would.
func (pn *pen) dial(target string) *net.TCPConn {
	pn.t.Helper()
	c, err := pn.connect(context.Background(), target)
	if err != nil {
		pn.t.Fatal(err)
	}
	pn.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func (pn *pen) connect(ctx context.Context, target string) (*net.TCPConn, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	var n uint16
	fmt.Sscan(port, &n)
	to := netip.AddrPortFrom(pn.address(host), n)
	// A dial that is given up may have made its connection, which the proxy has
	// accepted then and which nobody would say the destination of.
	var d net.Dialer
	c, err := d.DialContext(context.WithoutCancel(ctx), "tcp", pn.captured)
	if err != nil {
		return nil, err
	}
	pn.mu.Lock()
	pn.original[addrPort(c.LocalAddr())] = to
	pn.cond.Broadcast()
	pn.mu.Unlock()
	if err := ctx.Err(); err != nil {
		c.Close()
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// client returns an HTTP client in the pen that speaks the protocol on top.
func (pn *pen) client(proto string) *http.Client {
	tr := &http.Transport{
		DialContext:        func(ctx context.Context, _, addr string) (net.Conn, error) { return pn.connect(ctx, addr) },
		TLSClientConfig:    &tls.Config{RootCAs: pn.trust},
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	switch proto {
	case "h1":
		tr.Protocols.SetHTTP1(true)
	case "h2":
		tr.Protocols.SetHTTP2(true)
	case "h2c":
		tr.Protocols.SetUnencryptedHTTP2(true)
	default:
		pn.t.Fatalf("protocol %q", proto)
	}
	pn.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// origin serves h at name:port; in TLS unless port is 80 or 8080.
func (pn *pen) origin(target string, h http.Handler, alpn ...string) *httptest.Server {
	name, port, _ := strings.Cut(target, ":")
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if port != "80" && port != "8080" {
		leaf, err := pn.upstreamCA.Leaf(name)
		if err != nil {
			pn.t.Fatal(err)
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf}}
		s.Config.Protocols.SetHTTP2(true)
		s.Config.Protocols.SetUnencryptedHTTP2(false)
		if alpn != nil {
			s.Config.Protocols.SetHTTP1(false)
			s.TLS.NextProtos = alpn
		}
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	pn.t.Cleanup(s.Close)
	pn.place(target, s.Listener.Addr().String())
	return s
}

func (pn *pen) place(target, at string) {
	pn.mu.Lock()
	defer pn.mu.Unlock()
	pn.origins[target] = at
}

// get returns status and body.
func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return resp, string(b)
}

// records is an audit in memory.
type records struct {
	mu   sync.Mutex
	cond *sync.Cond
	fail error
	list []audit.Event
}

func (r *records) Append(e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.add(e)
	return nil
}

func (r *records) Note(e audit.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(e)
}

func (r *records) add(e audit.Event) {
	switch e := e.(type) {
	case *audit.FlowOpen:
		c := *e
		r.list = append(r.list, &c)
	case *audit.FlowClose:
		c := *e
		r.list = append(r.list, &c)
	case *audit.Violation:
		c := *e
		r.list = append(r.list, &c)
	case *audit.SecretUse:
		c := *e
		r.list = append(r.list, &c)
	case *audit.SecretRenewal:
		c := *e
		r.list = append(r.list, &c)
	case *audit.PACFile:
		c := *e
		r.list = append(r.list, &c)
	case *audit.Limit:
		c := *e
		r.list = append(r.list, &c)
	case *audit.Process:
		c := *e
		r.list = append(r.list, &c)
	case *audit.Ask:
		c := *e
		r.list = append(r.list, &c)
	}
	if r.cond != nil {
		r.cond.Broadcast()
	}
}

// wait returns the first event of type T that ok accepts, waiting for it.
func wait[T any](t testing.TB, r *records, ok func(*T) bool) *T {
	t.Helper()
	stop := time.AfterFunc(5*time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, nil)
		if r.cond != nil {
			r.cond.Broadcast()
		}
	})
	defer stop.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cond == nil {
		r.cond = sync.NewCond(&r.mu)
	}
	for {
		for _, e := range r.list {
			if e == nil {
				t.Fatalf("no such record in time:\n%s", r.text())
			}
			if v, is := e.(any).(*T); is && ok(v) {
				return v
			}
		}
		r.cond.Wait()
	}
}

func (r *records) dump() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text()
}

// text is dump for who holds the lock.
func (r *records) text() string {
	var b strings.Builder
	for _, e := range r.list {
		fmt.Fprintf(&b, "%T %+v\n", e, e)
	}
	return b.String()
}

func (r *records) count(ok func(audit.Event) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.list {
		if ok(e) {
			n++
		}
	}
	return n
}

func TestMain(m *testing.M) { os.Exit(checkLeaks(m)) }
