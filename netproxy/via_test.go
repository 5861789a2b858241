package netproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/secrets"
)

const (
	viaLogin = "hunter2-hunter2"
	viaBasic = "Y29ycDpodW50ZXIyLWh1bnRlcjI="
	viaRules = `  allow:
    - {host: "*.test", via: corp}
    - {host: direct.test, via: direct}
    - {host: banner.test, ports: [25], protocol: tcp}
    - {cidr: 0.0.0.0/0, ports: [80, 443], via: corp}
  hosts: {fixed.test: 203.0.113.77}
  upstreams:
    corp: {url: "http://proxy.corp:3128", user: corp, from: "env:X", except: ["*.lab.test"]}
`
)

// webProxy is an HTTP proxy that writes down the head of each request.
type webProxy struct {
	mu    sync.Mutex
	heads []string
	conns atomic.Int64
	// answer, if set, is the whole answer to a request with an absolute URL.
	answer   string
	silent   bool          // it never answers
	ntlm     bool          // it asks for a login by NTLM first
	patience time.Duration // of the pen's side; 0 is the default
}

func (x *webProxy) asked() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]string(nil), x.heads...)
}

// newViaPen is a pen whose upstream is x; tunnels lead to the pen's origins.
func newViaPen(t *testing.T, x *webProxy) *pen {
	t.Helper()
	rules := viaRules
	if x.ntlm {
		rules = strings.Replace(rules, "user: corp", "auth: ntlm, user: corp", 1)
	}
	pn := newPen(t, rules, func(c *Config) {
		c.Limits.UpstreamProxy = x.patience
		logins, err := secrets.ResolveLogins(c.Policy.Upstreams(), secrets.Source{Lookup: func(string) (string, bool) { return viaLogin, true }})
		if err != nil {
			t.Fatal(err)
		}
		c.Logins = logins
	})
	l := listen(t)
	t.Cleanup(func() { l.Close() })
	pn.place("proxy.corp:3128", l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			x.conns.Add(1)
			go x.serve(pn, c)
		}
	}()
	return pn
}

func (x *webProxy) serve(pn *pen, c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
		}
		x.mu.Lock()
		x.heads = append(x.heads, head.String())
		x.mu.Unlock()
		if x.silent {
			continue
		}
		if x.ntlm && strings.Contains(head.String(), "NTLM TlRMTVNTUAABAAAA") {
			io.WriteString(c, "HTTP/1.1 407 No\r\nContent-Length: 0\r\nProxy-Authenticate: NTLM TlRMTVNTUAACAAAABAAEADgAAAAFgooCp5ewkchyY28AAAAAAAAAACwALAA8AAAABgEAAAAAAA9WAE0AAgAEAFYATQABAAQAVgBNAAQAAAADAAQAdgBtAAcACABulmmhJ3vdAQAAAAA=\r\n\r\n")
			continue
		}
		method, rest, _ := strings.Cut(head.String(), " ")
		to, _, _ := strings.Cut(rest, " ")
		if method != http.MethodConnect {
			answer := x.answer
			if answer == "" {
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(to), to)
			}
			io.WriteString(c, answer)
			continue
		}
		pn.mu.Lock()
		at := pn.origins[to]
		pn.mu.Unlock()
		o, err := net.Dial("tcp", at)
		if err != nil {
			io.WriteString(c, "HTTP/1.1 503 No\r\n\r\n")
			return
		}
		defer o.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(o, br)
			o.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(c, o)
		return
	}
}

// TestViaOneName: whatever spelling a tool gives its target, the proxy is asked
// for the name that was judged, in the request line and in Host.
func TestViaOneName(t *testing.T) {
	x := &webProxy{}
	pn := newViaPen(t, x)
	for _, request := range []string{
		"GET /a HTTP/1.1\r\nHost: web.test\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: WEB.test.:80\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: " + pn.address("web.test").String() + "\r\n\r\n", // the synthetic address of it
		"GET http://web.test/a HTTP/1.1\r\nHost: web.test\r\nProxy-Authorization: Basic bWluZQ==\r\nConnection: Proxy-Authorization\r\n\r\n",
		"GET /a HTTP/1.0\r\n\r\n",
	} {
		c := pn.dial("web.test:80")
		io.WriteString(c, request)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%q: %+v, %v", request, resp, err)
		}
		c.Close()
	}
	for _, h := range x.asked() {
		if !strings.HasPrefix(h, "GET http://web.test/a HTTP/1.1\r\nHost: web.test\r\n") || strings.Count(h, "Proxy-Authorization: Basic "+viaBasic+"\r\n") != 1 || strings.Contains(h, "bWluZQ") {
			t.Errorf("the proxy was asked %q", h)
		}
	}
	if n := x.conns.Load(); n != 1 {
		t.Errorf("%d connections to the proxy for 5 requests", n)
	}
	// A path that is forwarded as it stands is so to a proxy, too.
	c := pn.dial("web.test:80")
	io.WriteString(c, "GET /a%2Fb;c=%7Bd%7D?e=%20f HTTP/1.1\r\nHost: web.test\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		t.Fatal(err)
	}
	if all := x.asked(); !strings.HasPrefix(all[len(all)-1], "GET http://web.test/a%2Fb;c={d}?e=%20f ") && !strings.HasPrefix(all[len(all)-1], "GET http://web.test/a%2Fb;c=%7Bd%7D?e=%20f ") {
		t.Errorf("the proxy was asked %q", all[len(all)-1])
	}
	open := wait(t, pn.records, func(e *audit.FlowOpen) bool { return e.Path == "/a" })
	if open.Via != "corp" {
		t.Errorf("record: %+v", open)
	}
}

// TestViaWays: what goes directly, what in a tunnel, and that the guard judges
// addresses before the proxy is asked.
func TestViaWays(t *testing.T) {
	x := &webProxy{}
	pn := newViaPen(t, x)
	for _, o := range []string{"api.test:443", "direct.test:443", "x.lab.test:443", "203.0.113.77:80", "web.test:80"} {
		pn.origin(o, http.HandlerFunc(hello))
	}
	pn.origin("203.0.113.77:80", http.HandlerFunc(hello))
	for _, c := range []struct{ url, via, head string }{
		{"https://api.test/x", "corp", "CONNECT api.test:443 HTTP/1.1\r\n"},
		{"https://direct.test/x", "", ""},
		{"https://x.lab.test/x", "", ""},
		{"http://fixed.test/x", "corp", "CONNECT 203.0.113.77:80 HTTP/1.1\r\n"},
		{"http://203.0.113.9/x", "corp", "GET http://203.0.113.9/x HTTP/1.1\r\n"},
	} {
		before := len(x.asked())
		proto := "h1"
		if strings.HasPrefix(c.url, "https") {
			proto = "h2"
		}
		resp, body := get(t, pn.client(proto), c.url)
		after := x.asked()[before:]
		if resp.StatusCode != 200 || len(after) == 0 != (c.head == "") || len(after) > 0 && !strings.HasPrefix(after[0], c.head) {
			t.Errorf("%s: %s %q; the proxy was asked %q", c.url, resp.Status, body, after)
		}
	}
	before := len(x.asked())
	for _, u := range []string{"http://10.1.2.3/", "http://169.254.169.254/latest", "https://127.0.0.9/"} {
		resp, body := get(t, pn.client("h1"), u)
		if resp.StatusCode != 403 || !strings.Contains(body, "refused") {
			t.Errorf("%s: %s %q", u, resp.Status, body)
		}
	}
	if after := x.asked()[before:]; len(after) > 0 {
		t.Errorf("the proxy was asked %q", after)
	}
	for _, d := range pn.dialed() {
		if d != "proxy.corp:3128" && d != "direct.test:443" && d != "x.lab.test:443" {
			t.Errorf("dialled %s", d)
		}
	}
}

// TestViaReflection: a proxy or an origin that sends the login back does not get
// it into the pen, and a tool is never asked to log in.
func TestViaReflection(t *testing.T) {
	for name, answer := range map[string]string{
		"header":  "HTTP/1.1 200 OK\r\nX-Echo: Basic " + viaBasic + "\r\nContent-Length: 0\r\n\r\n",
		"body":    "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + strings.Repeat("x", 60-len(viaBasic)) + viaBasic,
		"plain":   "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + strings.Repeat("x", 60-len(viaLogin)) + viaLogin,
		"trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo\r\n\r\n1\r\na\r\n0\r\nX-Echo: " + viaLogin + "\r\n\r\n",
		"407":     "HTTP/1.1 407 " + viaLogin + "\r\nProxy-Authenticate: Basic realm=\"" + viaLogin + "\"\r\nContent-Length: 5\r\n\r\nhello",
		"squid":   "HTTP/1.1 403 No\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 15\r\n\r\n" + viaLogin,
	} {
		x := &webProxy{answer: answer}
		pn := newViaPen(t, x)
		c := pn.dial("web.test:80")
		io.WriteString(c, "GET /a HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		if s := string(b); strings.Contains(s, viaLogin) || strings.Contains(s, viaBasic) || strings.Contains(s, "Proxy-Authenticate") || strings.HasPrefix(s, "HTTP/1.1 407") {
			t.Errorf("%s: the pen got %q", name, s)
		}
		pn.p.Close()
		if dump := pn.records.dump(); strings.Contains(dump, viaLogin) || strings.Contains(dump, viaBasic) {
			t.Errorf("%s: the audit has it: %s", name, dump)
		}
	}
}

// TestViaNTLMReflection: nor does it get a response of NTLM, from which the
// password could be guessed.
func TestViaNTLMReflection(t *testing.T) {
	for name, answer := range map[string]string{
		"header": "HTTP/1.1 200 OK\r\nX-Echo: NTLM TlRMTVNTUAADAAAAGAAYAHQAAAA\r\nContent-Length: 0\r\n\r\n",
		"body":   "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + strings.Repeat("x", 33) + "TlRMTVNTUAADAAAAGAAYAHQAAAA",
		"407":    "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM TlRMTVNTUAADAAAAGAAYAHQAAAA\r\nContent-Length: 0\r\n\r\n",
	} {
		x := &webProxy{answer: answer, ntlm: true}
		pn := newViaPen(t, x)
		c := pn.dial("web.test:80")
		io.WriteString(c, "GET /a HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
		if b, _ := io.ReadAll(c); strings.Contains(string(b), "TlRM") || strings.HasPrefix(string(b), "HTTP/1.1 407") {
			t.Errorf("%s: the pen got %q", name, b)
		}
		if asked := x.asked(); len(asked) != 2 || !strings.Contains(asked[1], "Proxy-Authorization: NTLM TlRMTVNTUAADAAAA") {
			t.Errorf("%s: the proxy was asked %q", name, asked)
		}
	}
}

// TestViaProxyAsTarget: the proxy is a target like any other, and no login is
// sent to one.
func TestViaProxyAsTarget(t *testing.T) {
	x := &webProxy{}
	pn := newViaPen(t, x)
	c := pn.dial("proxy.corp:3128")
	io.WriteString(c, "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
	if b, err := io.ReadAll(c); strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("%q, %v", b, err)
	}
	if a := x.asked(); len(a) > 0 {
		t.Errorf("the proxy was asked %q", a)
	}
}

// TestViaSilence: a proxy that does not answer holds a tool for so long and no
// longer, and the audit says whose fault it was.
func TestViaSilence(t *testing.T) {
	pn := newViaPen(t, &webProxy{silent: true, patience: 300 * time.Millisecond})
	resp, body := get(t, pn.client("h1"), "https://api.test/")
	if resp.StatusCode != 504 || !strings.Contains(body, "upstream corp (http://proxy.corp:3128) failed for api.test:443: it did not answer in time") {
		t.Errorf("%s %q", resp.Status, body)
	}
	c := pn.dial("banner.test:25")
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("raw: %q and no reset", b)
	}
	for _, target := range []string{"api.test:443", "banner.test:25"} {
		open := wait(t, pn.records, func(e *audit.FlowOpen) bool { return e.Target.String() == target })
		end := wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Flow == open.Flow })
		if open.Via != "corp" || end.Class != "upstream-proxy" {
			t.Errorf("%s: %+v, %+v", target, open, end)
		}
	}
}

// TestViaUnrecorded: nothing is asked of a proxy that the audit can't tell of.
func TestViaUnrecorded(t *testing.T) {
	x := &webProxy{}
	pn := newViaPen(t, x)
	pn.records.mu.Lock()
	pn.records.fail = io.ErrShortWrite
	pn.records.mu.Unlock()
	for _, u := range []string{"http://web.test/", "https://api.test/"} {
		if resp, _ := get(t, pn.client("h1"), u); resp.StatusCode != 503 {
			t.Errorf("%s: %s", u, resp.Status)
		}
	}
	c := pn.dial("banner.test:25")
	io.ReadAll(c)
	if x.conns.Load() != 0 {
		t.Errorf("%d connections to the proxy", x.conns.Load())
	}
}
