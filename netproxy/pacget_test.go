package netproxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/pac"
)

// pacPen is a pen whose way is chosen by a file that serve answers with.
func pacPen(t *testing.T, x *webProxy) (pn *pen, serve func(http.HandlerFunc), asked *atomic.Int64) {
	t.Helper()
	pn = newPen(t, `  via: auto
  allow: [{host: "*.test"}]
  upstreams:
    corp: {url: "http://proxy.corp:3128"}
    auto: {pac: "https://wpad.corp/proxy.pac?x=1", among: [corp, direct], refresh: 1s}
`)
	l := listen(t)
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
	var now atomic.Pointer[http.HandlerFunc]
	asked = new(atomic.Int64)
	pn.origin("wpad.corp:443", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "wpad.corp:443" && r.Host != "wpad.corp" || r.RequestURI != "/proxy.pac?x=1" || r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" {
			t.Errorf("asked %s %s %v", r.Host, r.RequestURI, r.Header)
		}
		(*now.Load())(rw, r)
	}))
	return pn, func(h http.HandlerFunc) { now.Store(&h) }, asked
}

func script(s string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, s) }
}

const (
	pacDirect = `function FindProxyForURL(url, host) { return "DIRECT" }`
	pacCorp   = `function FindProxyForURL(url, host) { return "PROXY proxy.corp:3128" }`
)

// badPACs are answers that are no file, and what is said of them.
func badPACs() map[string]struct {
	answer http.HandlerFunc
	want   string
} {
	return map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"status": {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(404); io.WriteString(rw, pacDirect) }, "the answer has status 404"},
		"redirect": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://wpad.corp/other.pac", http.StatusFound)
		}, "the answer has status 302, and redirects are not followed"},
		"broken": {script("\nclass A {}"), "line 2: here class is not understood"},
		"html":   {script("<html>please log in</html>"), "line 1: "},
		"empty":  {script(""), "it has no function FindProxyForURL"},
		"large":  {script(pacDirect + strings.Repeat(" ", pac.MaxFile)), "it is larger than 1 MiB"},
		"cut": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			io.WriteString(rw, pacDirect)
		}, "unexpected EOF"},
	}
}

// TestGetPACs: a file that can't be had at the start is an error with a remedy, and
// nothing goes directly because of it.
func TestGetPACs(t *testing.T) {
	for name, c := range badPACs() {
		t.Run(name, func(t *testing.T) {
			pn, serve, _ := pacPen(t, &webProxy{})
			pn.origin("web.test:443", http.HandlerFunc(hello))
			serve(c.answer)
			err := pn.p.GetPACs(t.Context())
			if err == nil || !strings.Contains(err.Error(), "use the PAC file of upstream auto (test.yaml:7): pac: https://wpad.corp:443/proxy.pac?x=1: "+c.want) || hintOf(err) == "" {
				t.Errorf("%v, hint %q", err, hintOf(err))
			}
			resp, body := get(t, pn.client("h1"), "https://web.test/")
			if resp.StatusCode != 502 || !strings.Contains(body, "it was not read") {
				t.Errorf("%s %q", resp.Status, body)
			}
		})
	}
	// Somebody else's certificate, and nobody.
	pn, serve, asked := pacPen(t, &webProxy{})
	serve(script(pacDirect))
	pn.origin("wrong.corp:443", http.HandlerFunc(hello))
	pn.mu.Lock()
	pn.origins["wpad.corp:443"] = pn.origins["wrong.corp:443"]
	pn.mu.Unlock()
	if err := pn.p.GetPACs(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate is valid for wrong.corp, not wpad.corp") || asked.Load() != 0 {
		t.Error(err)
	}
	pn.mu.Lock()
	delete(pn.origins, "wpad.corp:443")
	pn.mu.Unlock()
	if err := pn.p.GetPACs(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

// TestKeepPACs: a file that has changed is used from then on; whatever comes instead
// of one leaves the old one in force, and is recorded once.
func TestKeepPACs(t *testing.T) {
	x := &webProxy{}
	pn, serve, asked := pacPen(t, x)
	pn.origin("web.test:443", http.HandlerFunc(hello))
	serve(script(pacDirect))
	if err := pn.p.GetPACs(t.Context()); err != nil {
		t.Fatal(err)
	}
	pn.p.KeepPACs()
	pn.p.KeepPACs() // of no use
	client := pn.client("h2")
	reaches := func(directly bool) {
		t.Helper()
		before := len(x.asked())
		if resp, _ := get(t, client, "https://web.test/"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		if direct := len(x.asked()) == before; direct != directly {
			t.Errorf("directly: %v", direct)
		}
	}
	reaches(true)
	first := wait(t, pn.records, func(e *audit.PACFile) bool { return e.Upstream == "auto" && e.Action == "read" })
	// The pen reaches neither the host nor what it has by the proxy's allowance.
	for _, url := range []string{"https://wpad.corp/proxy.pac?x=1", "http://wpad.corp/"} {
		before := asked.Load()
		if resp, _ := get(t, pn.client("h1"), url); resp.StatusCode != 403 || asked.Load() > before+1 {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}

	serve(script(pacCorp))
	second := wait(t, pn.records, func(e *audit.PACFile) bool { return e.Action == "renewed" })
	if len(first.SHA256) != 64 || first.SHA256 == second.SHA256 {
		t.Errorf("%+v, %+v", first, second)
	}
	reaches(false)
	for _, c := range badPACs() {
		serve(c.answer)
		wait(t, pn.records, func(e *audit.PACFile) bool { return e.Action == "failed" && strings.Contains(e.Reason, c.want) })
		break // each of them is TestGetPACs's
	}
	before := asked.Load()
	for asked.Load() < before+2 {
		reaches(true) // connections are kept
	}
	failed := 0
	for _, e := range pn.records.all() {
		if e, ok := e.(*audit.PACFile); ok && e.Action == "failed" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d records of failures", failed)
	}
	client.CloseIdleConnections()
	pn.p.rules.Load().forgetWays()
	reaches(false) // the old file is in force
	serve(script(pacDirect))
	wait(t, pn.records, func(e *audit.PACFile) bool { return e.Action == "renewed" && e.SHA256 == first.SHA256 })
	reaches(true)
}
