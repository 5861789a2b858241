package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

const password = "hunter2-hunter2"

var (
	target = hooks.Target{Host: "a.example", Port: 443}
	six    = netip.MustParseAddr("2001:db8::1")
)

// loopback is a resolver of which every name is the host's own.
type loopback struct{}

func (loopback) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
}

// serve runs a proxy that does what f does with each connection, and returns its
// address.
func serve(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

// dead is an address where nothing listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newUpstream is one as a policy makes it, dialled by the real guard.
func newUpstream(t *testing.T, login bool, urls ...string) *Upstream {
	t.Helper()
	keys := ""
	if login {
		keys = `, user: corp, from: "env:X"`
	}
	return newUpstreamWith(t, keys, urls...)
}

// newUpstreamWith is newUpstream with further keys of its entry.
func newUpstreamWith(t *testing.T, keys string, urls ...string) *Upstream {
	t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, fmt.Appendf(nil, "version: 1\negress: {upstreams: {corp: {urls: [%s]%s}}}\n", strings.Join(urls, ", "), keys))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	logins, err := secrets.ResolveLogins(p.Upstreams(), secrets.Source{Lookup: func(string) (string, bool) { return password, true }})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Proxy: &p.Upstreams()[0], Login: logins.Of("corp"), Dial: (&dialguard.Guard{}).Dial, Answer: 400 * time.Millisecond})
}

// readUntil reads up to and with a text.
func readUntil(c net.Conn, end string) string {
	var b strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(b.String(), end) {
		if _, err := c.Read(one); err != nil {
			break
		}
		b.Write(one)
	}
	return b.String()
}

// TestConnectBytes: what a proxy gets is the canonical target and the login, and
// what comes right behind its answer is not lost.
func TestConnectBytes(t *testing.T) {
	asked := make(chan string, 1)
	at := serve(t, func(c net.Conn) {
		asked <- readUntil(c, "\r\n\r\n")
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n220 hello\n")
		io.Copy(c, c)
	})
	for t6, want := range map[hooks.Target]string{target: "a.example:443", {Addr: six, Port: 22}: "[2001:db8::1]:22"} {
		c, err := newUpstream(t, true, "http://"+at).Tunnel(t.Context(), t6)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != "CONNECT "+want+" HTTP/1.1\r\nHost: "+want+"\r\nProxy-Authorization: Basic Y29ycDpodW50ZXIyLWh1bnRlcjI=\r\n\r\n" {
			t.Errorf("the proxy was asked %q", got)
		}
		io.WriteString(c, "ping\n")
		line, err := bufio.NewReader(c).ReadString('g')
		if err != nil || line != "220 hello\nping" {
			t.Errorf("%q, %v", line, err)
		}
		c.Close()
	}
}

// TestSOCKSBytes: the same of SOCKS5, where not a byte too many may be read.
func TestSOCKSBytes(t *testing.T) {
	for name, tc := range map[string]struct {
		login   bool
		asked   string
		target  hooks.Target
		answers []string
	}{
		"name":    {false, "\x05\x01\x00|\x05\x01\x00\x03\x09a.example\x01\xbb|", target, []string{"\x05\x00", "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00220"}},
		"login":   {true, "\x05\x01\x02|\x01\x04corp\x0fhunter2-hunter2|\x05\x01\x00\x03\x09a.example\x01\xbb|", target, []string{"\x05\x02", "\x05\x00", "\x05\x00\x00\x03\x02xy\x00\x00220"}},
		"address": {false, "\x05\x01\x00|\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x16|", hooks.Target{Addr: six, Port: 22}, []string{"\x05\x00", "\x05\x00\x00\x04" + strings.Repeat("z", 18) + "220"}},
	} {
		asked := make(chan string, 1)
		at := serve(t, func(c net.Conn) {
			var all string
			buf := make([]byte, 600)
			for _, a := range tc.answers {
				n, _ := c.Read(buf)
				all += string(buf[:n]) + "|"
				io.WriteString(c, a)
			}
			asked <- all
			io.Copy(io.Discard, c)
		})
		c, err := newUpstream(t, tc.login, "socks5://"+at).Tunnel(t.Context(), tc.target)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := <-asked; got != tc.asked {
			t.Errorf("%s: asked %q", name, got)
		}
		rest := make([]byte, 3)
		if _, err := io.ReadFull(c, rest); err != nil || string(rest) != "220" {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
		c.Close()
	}
}

// TestHostileAnswers: whatever a proxy answers, a tunnel is not taken for granted,
// nobody waits for ever, and nothing of its text or of the login is in the error.
func TestHostileAnswers(t *testing.T) {
	evil := "\x1b[31mSECRETTEXT"
	for name, tc := range map[string]struct {
		url, answer, want, hint string
		login                   bool
	}{
		"nothing":          {"http", "", "it closed the connection without an answer", "", false},
		"silence":          {"http", "wait", "it did not answer in time", "", false},
		"silence, SOCKS":   {"socks5", "wait", "it did not answer in time", "", false},
		"garbage":          {"http", evil + "\r\n\r\n", "its answer is not that of a proxy", "", true},
		"SSH":              {"http", "SSH-2.0-" + evil + "\r\n", "", "", false},
		"cut off":          {"http", "HTTP/1.1 200 OK\r\nX: ", "without an answer", "", false},
		"endless header":   {"http", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100), "", "", false},
		"endless 1xx":      {"http", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), "its answer is not that of a proxy", "", false},
		"switching":        {"http", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "it answered 101", "", false},
		"moved":            {"http", "HTTP/1.1 302 " + evil + "\r\nLocation: http://evil.example/\r\n\r\n", "it answered 302 (Found)", "who runs the proxy", false},
		"no login":         {"http", "HTTP/1.1 407 " + evil + "\r\nProxy-Authenticate: Basic realm=\"SECRETTEXT\"\r\nProxy-Authenticate: Negotiate\r\n\r\n", "407 (Proxy Authentication Required), login by Basic or Negotiate", "name where they are by from: in egress.upstreams.corp", false},
		"wrong login":      {"http", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "407", "did not accept the credentials", true},
		"another login":    {"http", "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n", "407", "takes NTLM, and is given Basic: see auth: in egress.upstreams.corp", true},
		"squid":            {"http", "HTTP/1.1 503 X\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n", "503 (Service Unavailable), ERR_DNS_FAIL", "resolves and connects", false},
		"not squid":        {"http", "HTTP/1.1 503 X\r\nX-Squid-Error: ERR_SECRETTEXT%41\r\n\r\n", "503 (Service Unavailable)", "", false},
		"SOCKS, version":   {"socks5", "\x04\x00", "its answer is not", "", false},
		"SOCKS, method":    {"socks5", "\x05\xff", "none of the ways to log in", "wants credentials", false},
		"SOCKS, no method": {"socks5", "\x05\xff", "none of the ways to log in", "takes no user and password", true},
		"SOCKS, another":   {"socks5", "\x05\x02\x05\x00\x00\x01......", "its answer is not", "", false},
		"SOCKS, anonymous": {"socks5", "\x05\x00\x05\x00\x00\x01......", "its answer is not", "", true},
		"SOCKS, login":     {"socks5", "\x05\x02\x01\x01", "did not accept the user", "look at what from:", true},
		"SOCKS, rules":     {"socks5", "\x05\x00\x05\x02\x00\x01......", "the proxy's rules", "who runs the proxy", false},
		"SOCKS, type":      {"socks5", "\x05\x00\x05\x00\x00\x09......", "its answer is not", "", false},
		"SOCKS, short":     {"socks5", "\x05\x00\x05\x00\x00\x03\xff..", "without an answer", "", false},
		"HTTP for SOCKS":   {"socks5", "HTTP/1.1 400 " + evil + "\r\n\r\n", "its answer is not", "", false},
		"no TLS":           {"https", "HTTP/1.1 200 OK\r\n\r\n", "TLS with the proxy: ", "ca: in the policy", true},
	} {
		t.Run(name, func(t *testing.T) {
			at := serve(t, func(c net.Conn) {
				if tc.answer != "wait" {
					io.WriteString(c, tc.answer)
					c.(*net.TCPConn).CloseWrite()
				}
				io.Copy(io.Discard, c)
			})
			c, err := newUpstream(t, tc.login, tc.url+"://"+at).Tunnel(t.Context(), target)
			if err == nil {
				c.Close()
				t.Fatal("there is a tunnel")
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			all := e.Error() + " " + e.Hint()
			if !strings.Contains(e.Error(), tc.want) || !strings.Contains(e.Hint(), tc.hint) || !strings.Contains(all, "upstream corp ("+tc.url+"://"+at+")") {
				t.Errorf("%s | %s", e.Error(), e.Hint())
			}
			if strings.Contains(all, "SECRETTEXT") || strings.Contains(all, password) || strings.ContainsAny(all, "\x1b\r\n") || len(all) > 500 {
				t.Errorf("the error has what the proxy said, or the login: %q", all)
			}
		})
	}
}

// TestFallOver: the next proxy is asked when one can't be reached, and is asked
// first for a while; what a proxy refuses is not taken to another.
func TestFallOver(t *testing.T) {
	good := serve(t, func(c net.Conn) {
		readUntil(c, "\r\n\r\n")
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		io.Copy(c, c)
	})
	down := dead(t)
	u := newUpstream(t, false, "http://"+down, "http://"+good)
	for range 2 {
		c, err := u.Tunnel(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if got := u.order(); got[0] != 1 {
		t.Errorf("order %v: what could not be reached comes first", got)
	}
	u.mark(0, time.Now().Add(-time.Second))
	if got := u.order(); got[0] != 0 {
		t.Errorf("order %v: it is never tried again", got)
	}
	refusing, calls := "", make(chan struct{}, 10)
	refusing = serve(t, func(c net.Conn) {
		readUntil(c, "\r\n\r\n")
		calls <- struct{}{}
		io.WriteString(c, "HTTP/1.1 403 No\r\n\r\n")
	})
	_, err := newUpstream(t, false, "http://"+refusing, "http://"+good).Tunnel(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), "403") || len(calls) != 1 {
		t.Errorf("a refusal: %v after %d calls", err, len(calls))
	}
	_, err = newUpstream(t, false, "http://"+down, "http://"+dead(t)).Tunnel(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), "1 other proxies of it could not be reached") {
		t.Errorf("all down: %v", err)
	}
}

// TestGuard: the proxy's own address is judged, too.
func TestGuard(t *testing.T) {
	u := newUpstream(t, false, "http://proxy.example:3128")
	u.cfg.Dial = (&dialguard.Guard{Hosts: nil, Resolver: loopback{}}).Dial
	_, err := u.Dial(t.Context())
	var e *Error
	var refused *dialguard.RefusedError
	if !errors.As(err, &e) || !errors.As(err, &refused) || !strings.Contains(e.Hint(), `addresses: ["127.0.0.1"] in egress.upstreams.corp`) {
		t.Errorf("%v", err)
	}
}

// TestCancel: who goes away ends the wait.
func TestCancel(t *testing.T) {
	asked := make(chan struct{})
	at := serve(t, func(c net.Conn) {
		readUntil(c, "\r\n\r\n")
		close(asked)
		io.Copy(io.Discard, c)
	})
	u := newUpstream(t, false, "http://"+at)
	u.cfg.Answer = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if c, err := u.Tunnel(ctx, target); err == nil {
		c.Close()
		t.Error("there is a tunnel")
	}
}

// TestTLS: an HTTPS proxy needs a certificate for its own name, and the login is
// not sent before.
func TestTLS(t *testing.T) {
	authority, pool := ephemeral(t)
	for name, ok := range map[string]bool{"127.0.0.1": true, "other.example": false} {
		heard := make(chan string, 1)
		at := serve(t, func(c net.Conn) {
			leaf, err := authority.Leaf(name)
			if err != nil {
				t.Error(err)
				return
			}
			tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*leaf}})
			heard <- readUntil(tc, "\r\n\r\n")
			io.WriteString(tc, "HTTP/1.1 200 OK\r\n\r\n")
		})
		u := newUpstream(t, true, "https://"+at)
		u.cfg.Answer, u.cfg.Roots = 5*time.Second, func() (*x509.CertPool, error) { return pool, nil }
		c, err := u.Tunnel(t.Context(), target)
		if (err == nil) != ok {
			t.Errorf("certificate of %s: %v", name, err)
		}
		if c != nil {
			c.Close()
		}
		if got := <-heard; strings.Contains(got, "Basic") != ok {
			t.Errorf("certificate of %s: the proxy heard %q", name, got)
		}
	}
}

// ephemeral is an authority, and who trusts it.
func ephemeral(t *testing.T) (*ca.Authority, *x509.CertPool) {
	t.Helper()
	own, err := ca.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	authority, err := ca.New(own.Certificate, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(own.Certificate)
	return authority, pool
}

// TestAlertBeforeReset: a proxy that wants a certificate may say so, and reset the
// connection, before anything is asked of it. What it said counts.
func TestAlertBeforeReset(t *testing.T) {
	authority, pool := ephemeral(t)
	leaf, err := authority.Leaf("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	reset := make(chan struct{}, 2)
	u := newUpstream(t, false, "https://"+serve(t, func(c net.Conn) {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*leaf}, ClientAuth: tls.RequireAnyClientCert})
		if tc.Handshake() == nil {
			t.Error("there is a certificate")
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		reset <- struct{}{}
	}))
	u.cfg.Roots = func() (*x509.CertPool, error) { return pool, nil }
	for name, use := range map[string]func(c net.Conn) error{
		"tunnel": func(c net.Conn) error {
			_, err := u.connect(c, 0, target, "")
			return u.fail(0, target, err)
		},
		"request": func(c net.Conn) error {
			_, err := io.WriteString(&alertConn{c, u, 0}, "GET http://a.example/ HTTP/1.1\r\n")
			return err
		},
	} {
		c, err := u.reach(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		<-reset
		var e *Error
		if err := use(c); !errors.As(err, &e) || !strings.Contains(e.Hint(), "wants a certificate") {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

func TestOwn(t *testing.T) {
	for _, tc := range []struct {
		status int
		header http.Header
		want   bool
	}{
		{407, nil, true}, {403, nil, false}, {200, http.Header{"X-Squid-Error": {"ERR_X 0"}}, false},
		{403, http.Header{"X-Squid-Error": {"ERR_ACCESS_DENIED 0"}}, true}, {502, http.Header{"Proxy-Status": {"p; error=dns_timeout"}}, true}, {500, http.Header{"Proxy-Status": {"p"}}, false},
	} {
		if got := Own(&http.Response{StatusCode: tc.status, Header: tc.header}); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// FuzzAnswer: no answer of a proxy makes a panic or an error with its own text.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\n\r\nrest", "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n", "\x05\x00\x05\x00\x00\x03\x01a\x00\x00", "\x05\xff"} {
		f.Add([]byte(s))
	}
	u := &Upstream{cfg: Config{Proxy: &policy.Upstream{Name: "corp", URLs: []string{"http://p:1"}}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := readAnswer(strings.NewReader(string(b)))
		errs := []error{err, u.socks(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(string(b)), io.Discard}, target)}
		for _, err := range errs {
			if err == nil {
				continue
			}
			e := u.fail(0, target, err)
			if s := e.Error() + e.Hint(); len(s) > 400 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q", s)
			}
		}
	})
}
