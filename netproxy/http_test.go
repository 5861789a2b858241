package netproxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

const someRules = `  allow:
    - host: api.test
    - {host: web.test, ports: [80, 8080], protocol: http}
    - {host: paths.test, methods: [GET], paths: ["/open/**"]}
    - {host: raw.test, ports: [22], protocol: tcp}
    - {host: pass.test, inspect: false}
  deny:
    - host: evil.test
`

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.Method, r.Host, r.RequestURI)
}

func TestHTTP(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(hello))
	pn.origin("web.test:80", http.HandlerFunc(hello))
	pn.origin("web.test:8080", http.HandlerFunc(hello))
	for _, c := range []struct{ proto, url, want string }{
		{"h1", "https://api.test/a?b=c", "HTTP/1.1 GET api.test /a?b=c"},
		{"h2", "https://api.test/a?b=c", "HTTP/2.0 GET api.test /a?b=c"},
		{"h1", "http://web.test/x%2fy", "HTTP/1.1 GET web.test /x%2Fy"},
		{"h1", "http://web.test:8080/", "HTTP/1.1 GET web.test:8080 /"},
		{"h2c", "http://web.test/", "HTTP/2.0 GET web.test /"},
	} {
		t.Run(c.proto+" "+c.url, func(t *testing.T) {
			cl := pn.client(c.proto)
			for range 3 {
				resp, body := get(t, cl, c.url)
				if resp.StatusCode != 200 || body != c.want {
					t.Fatalf("%s: %q, want %q", resp.Status, body, c.want)
				}
			}
		})
	}
	open := wait(t, pn.records, func(e *audit.FlowOpen) bool { return e.Path == "/a" })
	if open.Verdict != hooks.Allow || open.Rule == "" || open.Target.String() != "api.test:443" || open.Protocol != hooks.ProtocolHTTPS {
		t.Errorf("record: %+v", open)
	}
	cl := wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Flow == open.Flow })
	if cl.Status != 200 || cl.BytesDown == 0 || !cl.Upstream.IsValid() || cl.Error != "" {
		t.Errorf("record: %+v", cl)
	}
}

func TestDeny(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("paths.test:443", http.HandlerFunc(hello))
	for _, proto := range []string{"h1", "h2"} {
		for _, u := range []string{"https://evil.test/", "https://unknown.test/x", "https://paths.test/closed", "https://paths.test/open/../closed"} {
			resp, body := get(t, pn.client(proto), u)
			if resp.StatusCode != 403 || resp.Header.Get(VerdictHeader) != "deny" || !strings.Contains(body, "penstock: denied: GET https://") {
				t.Errorf("%s %s: %s %q", proto, u, resp.Status, body)
			}
		}
	}
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
	resp, _ := get(t, pn.client("h1"), "https://paths.test/open/x")
	if resp.StatusCode != 200 {
		t.Errorf("allowed path: %s", resp.Status)
	}
	req, _ := http.NewRequest("GET", "https://unknown.test/", nil)
	req.Header.Set("Accept", "application/json")
	resp, err := pn.client("h1").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.Header.Get("Content-Type") != "application/json" || !strings.Contains(string(b), `"penstock":"deny"`) {
		t.Errorf("%s", b)
	}
	s := pn.p.Stats()
	if s.Denied == 0 || len(s.Counts) == 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestExplicit(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(hello))
	pn.origin("web.test:80", http.HandlerFunc(hello))
	for _, scheme := range []string{"http", "socks5"} {
		for _, host := range []string{"api.test", "web.test"} {
			t.Run(scheme+" "+host, func(t *testing.T) {
				tr := &http.Transport{
					Proxy:           http.ProxyURL(&url.URL{Scheme: scheme, Host: pn.explicit}),
					TLSClientConfig: &tls.Config{RootCAs: pn.trust},
				}
				defer tr.CloseIdleConnections()
				u := "https://" + host + "/x"
				if host == "web.test" {
					u = "http://" + host + "/x"
				}
				for range 2 {
					resp, body := get(t, &http.Client{Transport: tr}, u)
					if resp.StatusCode != 200 || body != "HTTP/1.1 GET "+host+" /x" {
						t.Errorf("%s %q", resp.Status, body)
					}
				}
			})
		}
	}
	t.Run("denied", func(t *testing.T) {
		tr := &http.Transport{
			Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: pn.explicit}),
			TLSClientConfig: &tls.Config{RootCAs: pn.trust},
		}
		defer tr.CloseIdleConnections()
		// The refusal says why, also inside a CONNECT tunnel.
		for _, u := range []string{"http://evil.test/", "https://evil.test/"} {
			resp, body := get(t, &http.Client{Transport: tr}, u)
			if resp.StatusCode != 403 || !strings.Contains(body, "test.yaml:") {
				t.Errorf("%s: %s %q", u, resp.Status, body)
			}
		}
		if _, err := (&http.Client{Transport: tr}).Get("https://evil.test:8443/"); err == nil || !strings.Contains(err.Error(), "Forbidden") {
			t.Errorf("CONNECT: %v", err)
		}
	})
}

func TestRaw(t *testing.T) {
	pn := newPen(t, someRules)
	l := listen(t)
	pn.place("raw.test:22", l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// The server speaks first, then echoes until the client's half is closed.
			io.WriteString(c, "SSH-2.0-x\r\n")
			io.Copy(c, c)
			c.Close()
		}
	}()
	c := pn.dial("raw.test:22")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "SSH-2.0-x\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	io.WriteString(c, "hello")
	c.CloseWrite()
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}
	cl := wait(t, pn.records, func(e *audit.FlowClose) bool { return e.BytesUp == 5 })
	if cl.BytesDown != 16 || cl.Error != "" {
		t.Errorf("%+v", cl)
	}
	// Denied: a reset.
	d := pn.dial("other.test:22")
	io.WriteString(d, "SSH-2.0-client\r\n")
	if b, err := io.ReadAll(d); err == nil {
		t.Errorf("read %q without an error", b)
	}
	wait(t, pn.records, func(e *audit.FlowOpen) bool {
		return e.Target.Host == "other.test" && e.Verdict == hooks.Deny && strings.Contains(e.Reason, "raw TCP")
	})
}

func TestPassThrough(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("pass.test:443", http.HandlerFunc(hello))
	// The client sees the origin's own certificate.
	leaf, _ := pn.upstreamCA.Leaf("pass.test")
	get := func(name string) error {
		c := tls.Client(pn.dial("pass.test:443"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			return err
		}
		if string(c.ConnectionState().PeerCertificates[0].Raw) != string(leaf.Certificate[0]) {
			return fmt.Errorf("certificate is not the origin's")
		}
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: pass.test\r\nConnection: close\r\n\r\n")
		b, err := io.ReadAll(c)
		if err == nil && !strings.Contains(string(b), "HTTP/1.1 GET pass.test /") {
			err = fmt.Errorf("%q", b)
		}
		return err
	}
	for range 2 {
		if err := get("pass.test"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(pn.dialed()); n != 3 { // one preflight
		t.Errorf("%d dials", n)
	}
	if err := get("other.test"); err == nil {
		t.Error("another SNI passed")
	}
	if n := len(pn.dialed()); n != 3 {
		t.Errorf("another SNI was dialled")
	}
}

func TestInvariant05RecordedBeforeItLeaves(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(hello))
	pn.records.fail = fmt.Errorf("no space left on device")
	resp, body := get(t, pn.client("h1"), "https://api.test/")
	if resp.StatusCode != 503 || !strings.Contains(body, "audit cannot be written") {
		t.Errorf("%s %q", resp.Status, body)
	}
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
}
