package netproxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
)

// routing is a pen with two proxies and hooks that route by path, header or target.
func routing(t *testing.T) (pn *pen, corp, other *webProxy) {
	const rules = `  allow:
    - {host: "*.test"}
    - {host: sent.test, via: corp}
    - {host: raw.test, ports: [22], protocol: tcp}
    - {host: pass.test, inspect: false}
    - {cidr: 0.0.0.0/0, ports: [80]}
  upstreams:
    corp: {url: "http://proxy.corp:3128"}
    other: {url: "http://other.corp:3128"}
hooks:
  - name: by-path
    on: [request]
    cel: |
      request.path == "/via/corp" ? "route: corp" : request.path == "/via/other" ? "route: other" :
      request.path == "/via/direct" ? "route:direct" : request.path == "/via/nowhere" ? "route: nowhere" : "next"
  - name: by-header
    on: [request]
    cel: '"x-way" in request.headers ? "route: " + request.headers["x-way"] : "next"'
  - name: by-target
    on: [connect]
    hosts: [raw.test, pass.test, early.test]
    cel: '"route: other"'
`
	pn = newPen(t, rules, func(c *Config) { c.Limits = Limits{} }) // who waits for a processor is not slow
	corp, other = &webProxy{}, &webProxy{}
	for at, x := range map[string]*webProxy{"proxy.corp:3128": corp, "other.corp:3128": other} {
		l := listen(t)
		pn.place(at, l.Addr().String())
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
	}
	for _, o := range []string{"api.test:443", "sent.test:443", "early.test:443", "pass.test:443", "web.test:80", "early.test:80"} {
		pn.origin(o, http.HandlerFunc(hello))
	}
	return pn, corp, other
}

// TestHookRoutes: each request leaves by the way that a hook says, kept connections
// notwithstanding, and never by one that the policy would not let a rule say.
func TestHookRoutes(t *testing.T) {
	pn, corp, other := routing(t)
	clients := map[string]*http.Client{"h1": pn.client("h1"), "h2": pn.client("h2")}
	for _, tt := range []struct {
		url, way  string // way: the header
		via, hook string
		why       string // of a deny
	}{
		{"https://api.test/", "", "", "", ""},
		{"https://api.test/via/corp", "", "corp", "by-path", ""},
		{"https://api.test/via/other", "", "other", "by-path", ""},
		{"https://api.test/via/direct", "", "", "by-path", ""},
		{"https://api.test/", "corp", "corp", "by-header", ""},
		{"https://api.test/via/corp", "corp", "corp", "by-path", ""},
		{"https://api.test/via/corp", "other", "", "", "hook by-path routes via corp, and hook by-header via other"},
		{"https://api.test/via/nowhere", "", "", "", `hook by-path routes via nowhere, which can't be: there is no upstream "nowhere"`},
		{"https://api.test/", "http://evil.test:3128", "", "", "hook by-header failed, which denies"},
		{"https://sent.test/via/direct", "", "", "", "the policy sends it via corp, and not directly"},
		{"https://sent.test/via/other", "", "other", "by-path", ""},
		{"https://sent.test/", "", "corp", "", ""},
		{"https://early.test/", "", "other", "by-target", ""},
		{"https://early.test/again", "", "other", "by-target", ""},
		{"https://early.test/via/corp", "", "", "", "hook by-target routes via other, and hook by-path via corp"},
		{"http://web.test/via/corp", "", "corp", "by-path", ""},
		{"http://web.test/", "", "", "", ""},
		{"http://early.test/", "", "other", "by-target", ""},
		{"http://10.1.2.3/via/corp", "", "", "by-path", "refused"}, // the guard judges what is an address
	} {
		for proto, c := range clients {
			if proto == "h2" && strings.HasPrefix(tt.url, "http:") {
				continue
			}
			before, beforeOther, dials := len(corp.asked()), len(other.asked()), len(pn.dialed())
			seen := pn.records.count(opened)
			r := request(t, "GET", tt.url, "")
			if tt.way != "" {
				r.Header.Set("X-Way", tt.way)
			}
			s := <-fetched(t, c, r)
			if strings.HasPrefix(s, "200") != (tt.why == "") || !strings.Contains(s, tt.why) {
				t.Errorf("%s %s: %s", proto, tt.url, s)
			}
			if pn.records.count(opened) != seen+1 {
				t.Fatalf("%s %s: %d records", proto, tt.url, pn.records.count(opened)-seen)
			}
			open := lastOpen(pn)
			if open.Via != tt.via && tt.why == "" || open.Routed != tt.hook && tt.why == "" {
				t.Errorf("%s %s: recorded via %q by %q", proto, tt.url, open.Via, open.Routed)
			}
			// A way that was gone before has its connection still; no other is used.
			if n := len(corp.asked()) - before; n > 0 && tt.via != "corp" {
				t.Errorf("%s %s: corp is asked", proto, tt.url)
			}
			if n := len(other.asked()) - beforeOther; n > 0 && tt.via != "other" {
				t.Errorf("%s %s: other is asked", proto, tt.url)
			}
			for _, d := range pn.dialed()[dials:] {
				if want := map[string]string{"corp": "proxy.corp:3128", "other": "other.corp:3128"}[tt.via]; want != "" && d != want || want == "" && strings.Contains(d, ".corp:") || tt.why != "" {
					t.Errorf("%s %s: dialled %s", proto, tt.url, d)
				}
			}
		}
	}
	heads := strings.Join(corp.asked(), "")
	if !strings.Contains(heads, "GET http://web.test/via/corp HTTP/1.1\r\n") || !strings.Contains(heads, "CONNECT api.test:443 ") || len(other.asked()) == 0 {
		t.Errorf("corp was asked %q, other %q", corp.asked(), other.asked())
	}
}

func opened(e audit.Event) bool { _, ok := e.(*audit.FlowOpen); return ok }

func lastOpen(pn *pen) (last *audit.FlowOpen) {
	pn.records.count(func(e audit.Event) bool {
		if o, ok := e.(*audit.FlowOpen); ok {
			last = o
		}
		return false
	})
	return last
}

// TestHookRoutesChanged: what a handler makes of a request goes where hooks send that.
func TestHookRoutesChanged(t *testing.T) {
	pn, corp, other := routing(t)
	pn.p.Chain().OnRequest().DoFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
		r.URL.Path = "/via/other"
		return r, nil
	})
	if resp, body := get(t, pn.client("h1"), "https://api.test/via/corp"); resp.StatusCode != 200 || len(corp.asked()) != 0 || len(other.asked()) != 1 {
		t.Errorf("%s %s", resp.Status, body)
	}
	if o := lastOpen(pn); o.Via != "other" || len(o.Hooks) != 2 {
		t.Errorf("%+v", o)
	}
}

// TestHookRoutesRaw: what is not read goes by the hook's way, too.
func TestHookRoutesRaw(t *testing.T) {
	pn, _, other := routing(t)
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello\n")
			c.Close()
		}
	}()
	pn.place("raw.test:22", l.Addr().String())
	if b, err := io.ReadAll(pn.dial("raw.test:22")); err != nil || string(b) != "hello\n" {
		t.Errorf("%q, %v", b, err)
	}
	c := pn.client("h1")
	c.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	if resp, _ := get(t, c, "https://pass.test/"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	heads := strings.Join(other.asked(), "")
	if !strings.Contains(heads, "CONNECT raw.test:22 ") || !strings.Contains(heads, "CONNECT pass.test:443 ") {
		t.Errorf("other was asked %q", heads)
	}
	for _, d := range pn.dialed() {
		if d != "other.corp:3128" {
			t.Errorf("dialled %s", d)
		}
	}
	for _, host := range []string{"raw.test", "pass.test"} {
		o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Target.Host == host })
		if o.Via != "other" || o.Routed != "by-target" || len(o.Hooks) != 1 || o.Hooks[0].Decision != "route" || o.Hooks[0].Reason != "other" {
			t.Errorf("%+v", o)
		}
	}
}
