package netproxy

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/policy"
)

// need returns the path of a program, or skips; in CI it must be there.
func need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing: apt-get install %s", name, name)
	}
	return path
}

func TestCurl(t *testing.T) {
	curl := need(t, "curl")
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		hello(w, r)
	}))
	pn.origin("web.test:80", http.HandlerFunc(hello))
	file := filepath.Join(t.TempDir(), "ca.pem")
	cert := pn.p.cfg.Leaves.(*ca.Authority).Certificate()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, proxy := range []string{"http://" + pn.explicit, "socks5h://" + pn.explicit} {
		for _, c := range []struct{ args, want string }{
			{"--http1.1 https://api.test/x", "HTTP/1.1 GET api.test /x 200"},
			{"--http2 https://api.test/x", "HTTP/2.0 GET api.test /x 200"},
			{"--http2 http://web.test/x", "HTTP/1.1 GET web.test /x 200"}, // the h2c upgrade is declined
			{"-d body -H Expect:100-continue https://api.test/x", "POST api.test /x 200"},
			{"-H Host:other.test https://api.test/x", " 421"},
			{"-T - https://api.test/up", "PUT api.test /up 200"},
			{"https://evil.test/", "penstock: denied: GET https://evil.test"},
			{"telnet://evil.test:25", ""},
		} {
			args := append([]string{"-s", "-x", proxy, "--cacert", file, "--max-time", "10", "-w", " %{http_code}"}, strings.Fields(c.args)...)
			cmd := exec.CommandContext(t.Context(), curl, args...)
			cmd.Stdin = strings.NewReader("upload")
			cmd.Env = []string{}
			out, err := cmd.Output()
			if c.want == "" || strings.HasPrefix(proxy, "socks") && strings.Contains(c.args, "evil") { // reply 2: not allowed by ruleset
				if err == nil {
					t.Errorf("curl %s: %q without an error", c.args, out)
				}
				continue
			}
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s: curl %s: %v %q, want %q", proxy, c.args, err, out, c.want)
			}
		}
	}
}

func TestSOCKS(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("web.test:80", http.HandlerFunc(hello))
	synthetic := pn.address("web.test").As4()
	name := func(host string, port uint16) string {
		return fmt.Sprintf("\x05\x01\x00\x03%c%s%c%c", len(host), host, port>>8, port&0xff)
	}
	const hi = "\x05\x01\x00"
	get := "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"
	for label, c := range map[string]struct{ in, want string }{
		"name":          {hi + name("WEB.test.", 80) + get, "\x05\x00\x05\x00\x00\x01"},
		"synthetic":     {hi + "\x05\x01\x00\x01" + string(synthetic[:]) + "\x00\x50" + get, "\x05\x00\x05\x00\x00\x01"},
		"denied":        {hi + name("evil.test", 443), "\x05\x00\x05\x02"},
		"literal":       {hi + "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00\x05\x02"},
		"bad name":      {hi + name("a b", 80), "\x05\x00\x05\x01"},
		"numeric name":  {hi + name("0x7f.1", 80), "\x05\x00\x05\x04"},
		"bind":          {hi + "\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00\x05\x07"},
		"udp associate": {hi + "\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00\x05\x07"},
		"password":      {"\x05\x01\x02", "\x05\xff"},
		"SOCKS4":        {"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "\x00\x5b"},
		"noise":         {"\x00\x01\x02\x03", ""},
	} {
		t.Run(label, func(t *testing.T) {
			conn, err := net.Dial("tcp", pn.explicit)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, c.in)
			b, err := io.ReadAll(conn)
			if !strings.HasPrefix(string(b), c.want) || c.want == "" && len(b) > 0 {
				t.Errorf("%q %v, want %q", b, err, c.want)
			}
			if strings.Contains(c.in, "GET") && !strings.Contains(string(b), "HTTP/1.1 GET web.test /") {
				t.Errorf("%q", b)
			}
		})
	}
	for _, d := range pn.dialed() {
		if d != "web.test:80" {
			t.Errorf("dialled %s", d)
		}
	}
}

// FuzzBinding holds that a request that is let through says the connection's
// target and nothing else, however it spells it.
func FuzzBinding(f *testing.F) {
	for _, h := range []string{"api.test", "api.test:443", "API.TEST.", "other.test", "api.test@other.test", "[::1]", "198.18.0.1", "xn--a", "api.test:0443", "api.test:"} {
		f.Add("api.test", uint16(443), h, true)
		f.Add("192.0.2.1", uint16(80), h, false)
	}
	p := &Proxy{cfg: Config{}}
	f.Fuzz(func(t *testing.T, target string, port uint16, host string, secure bool) {
		to, err := policy.ParseTarget(target)
		if err != nil || port == 0 {
			return
		}
		to.Port = port
		var b binding
		b.bindTarget(to)
		b.setTLS(secure)
		r := &http.Request{Method: "GET", Host: host, URL: mustURL("/"), Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1}
		got, why := p.bindRequest(&b, r)
		if got != to {
			t.Fatalf("bound to %v instead of %v", got, to)
		}
		if why != nil {
			return
		}
		said, err := policy.ParseTarget(b.scheme() + "://" + host)
		if err != nil || said != to {
			t.Fatalf("%q passed for %v: it says %v, %v", host, to, said, err)
		}
		if again, err := splitTarget(to.String()); err != nil || again != to {
			t.Fatalf("%v is dialled as %v, %v", to, again, err)
		}
	})
}

// TestTargetsSurviveTransports: what is dialled is what was bound.
func TestTargetsSurviveTransports(t *testing.T) {
	for _, s := range []string{"a.test:1", "192.0.2.1:443", "[2001:db8::1]:443", "host.penstock.internal:8080"} {
		want, err := policy.ParseTarget(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := splitTarget(want.String()); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	if _, err := splitTarget("nothing"); err == nil {
		t.Error("no port passed")
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
