package netproxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
)

// A handler that panics, changes the target, or answers with nothing leaves a deny.
func TestInvariant01DenyByConstruction(t *testing.T) {
	for name, c := range map[string]struct {
		request  func(*http.Request, *goproxy.ProxyCtx) (*http.Request, *http.Response)
		response func(*http.Response, *goproxy.ProxyCtx) *http.Response
		want     int
		dials    int
	}{
		"panic": {request: func(*http.Request, *goproxy.ProxyCtx) (*http.Request, *http.Response) { panic("boom") }, want: 500},
		"panic on the response": {response: func(*http.Response, *goproxy.ProxyCtx) *http.Response { panic(errors.New("boom")) },
			want: 500, dials: 1},
		"nil response": {response: func(*http.Response, *goproxy.ProxyCtx) *http.Response { return nil }, want: 500, dials: 1},
		"another host": {request: func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			r.URL.Host = "evil.test:443"
			return r, nil
		}, want: 403},
		"another scheme": {request: func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			r.URL.Scheme = "http"
			return r, nil
		}, want: 403},
		"a denied path": {request: func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			r.URL.Path = "/closed"
			return r, nil
		}, want: 403},
		"an odd path": {request: func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			r.URL.Path = "/open/..\\x"
			return r, nil
		}, want: 403},
		"an allowed path": {request: func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			if f := FlowOf(r); f == nil || f.Target.Host != "paths.test" {
				panic("no flow")
			}
			r.URL.Path = "/open/other"
			return r, nil
		}, want: 200, dials: 1},
		"its round tripper": {request: func(r *http.Request, ctx *goproxy.ProxyCtx) (*http.Request, *http.Response) {
			ctx.RoundTripper = nil
			return r, nil
		}, want: 500},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				pn := newPen(t, someRules)
				pn.all()
				if c.request != nil {
					pn.p.Chain().OnRequest().DoFunc(c.request)
				}
				if c.response != nil {
					pn.p.Chain().OnResponse().DoFunc(c.response)
				}
				cl := pn.client(proto)
				resp, _ := get(t, cl, "https://paths.test/open/x")
				if resp.StatusCode != c.want {
					t.Errorf("%s: %s, want %d", proto, resp.Status, c.want)
				}
				if d := pn.dialed(); len(d) > c.dials {
					t.Errorf("%s: dialled %v", proto, d)
				}
				if strings.HasPrefix(name, "panic") {
					wait(t, pn.records, func(v *audit.Violation) bool { return v.Kind == "panic" })
				}
			}
		})
	}
}

// What no rule allows is let through in audit mode, and recorded as denied; what
// a rule denies is not let through.
func TestPermissive(t *testing.T) {
	pn := newPen(t, someRules, func(c *Config) { c.Permissive = true })
	pn.all()
	l := listen(t)
	pn.place("other.test:22", l.Addr().String())
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.WriteString(c, "hello\n")
			c.Close()
		}
	}()
	for host, want := range map[string]int{"evil.test": 403, "other.test": 200} {
		resp, _ := get(t, pn.client("h2"), "https://"+host+"/")
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
		o := wait(t, pn.records, func(e *audit.FlowOpen) bool { return e.Target.Host == host })
		if o.Verdict != hooks.Deny || (o.Mode == "audit") != (want == 200) || (o.Rule == "") != (want == 200) {
			t.Errorf("%+v", o)
		}
	}
	if b, err := io.ReadAll(pn.dial("other.test:22")); err != nil || string(b) != "hello\n" {
		t.Errorf("server speaks first: %q %v", b, err)
	}
	// The name must still be one.
	if got, _ := say(t, pn.tls("api.test:443", "other.test"), "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"); len(got) != 1 || got[0] != 421 {
		t.Errorf("mismatch: %v", got)
	}
}

func newSecrets(t testing.TB) (*secrets.Set, string) {
	t.Helper()
	value := secrets.NewValue("sk-real-0123456789abcdef")
	placeholder := secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "Authorization", Hosts: []string{"api.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	return set, placeholder
}

// The value is put in for the declared host and header only, last, and is in no record.
func TestInvariant06NoSecretInside(t *testing.T) {
	set, placeholder := newSecrets(t)
	pn := newPen(t, someRules+"    - {host: never.test}\n", func(c *Config) { c.Secrets = set })
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		a := r.Header.Get("Authorization")
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Echo", a)
		case "/echo/body":
			fmt.Fprint(w, strings.Repeat("z", 100_000), a)
			return
		case "/echo/trailer":
			w.Header().Set("Trailer", "X-Echo")
			fmt.Fprint(w, "see below")
			w.Header().Set("X-Echo", a)
			return
		}
		fmt.Fprint(w, strings.Contains(a, "sk-real"), strings.Contains(a, placeholder))
	})
	pn.origin("api.test:443", h)
	pn.origin("paths.test:443", h)
	pn.origin("web.test:80", h)
	for name, c := range map[string]struct {
		url, header, value, body string
		want                     int
		real                     bool
	}{
		"declared":       {"https://api.test/", "Authorization", "Bearer " + placeholder, "", 200, true},
		"not in it":      {"https://api.test/", "Authorization", "Bearer x", "", 200, false},
		"another header": {"https://api.test/", "X-Key", placeholder, "", 403, false},
		"another host":   {"https://paths.test/open/", "Authorization", "Bearer " + placeholder, "", 403, false},
		"in clear":       {"http://web.test/", "Authorization", "Bearer " + placeholder, "", 403, false},
		"query":          {"https://api.test/?k=" + placeholder, "", "", "", 403, false},
		"path":           {"https://api.test/" + placeholder, "", "", "", 403, false},
		"echoed":         {"https://api.test/echo", "Authorization", "Bearer " + placeholder, "", 403, false},
		"body":           {"https://api.test/", "", "", "x=" + placeholder, 403, false},
		"late in a body": {"https://api.test/", "", "", strings.Repeat("y", 100_000) + placeholder, 403, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				if proto == "h2" && strings.HasPrefix(c.url, "http:") {
					continue
				}
				method := "GET"
				var body io.Reader
				if c.body != "" {
					method, body = "POST", strings.NewReader(c.body)
				}
				req, _ := http.NewRequest(method, c.url, body)
				if c.header != "" {
					req.Header.Set(c.header, c.value)
				}
				resp, err := pn.client(proto).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("%s: %s %q", proto, resp.Status, b)
				}
				switch {
				case c.want == 200:
					if want := fmt.Sprint(c.real, false); string(b) != want {
						t.Errorf("%s: the origin got the value, the placeholder: %s, want %s", proto, b, want)
					}
				default:
					wait(t, pn.records, func(v *audit.Violation) bool { return strings.HasPrefix(v.Kind, "secret-") })
				}
			}
		})
	}
	for _, proto := range []string{"h1", "h2"} {
		for _, where := range []string{"body", "trailer"} {
			req, _ := http.NewRequest("GET", "https://api.test/echo/"+where, nil)
			req.Header.Set("Authorization", "Bearer "+placeholder)
			resp, err := pn.client(proto).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil || strings.Contains(string(b), "sk-real") || len(resp.Trailer["X-Echo"]) > 0 {
				t.Errorf("%s: the value came back in a %s: %v %v", proto, where, err, resp.Trailer)
			}
			wait(t, pn.records, func(v *audit.Violation) bool {
				return v.Kind == "secret-reflected" && (where == "trailer" || strings.Contains(v.Detail, "body"))
			})
		}
	}
	wait(t, pn.records, func(u *audit.SecretUse) bool { return u.Name == "KEY" && u.Host == "api.test" })
	if strings.Contains(pn.records.dump(), "sk-real") {
		t.Error("the value is in a record")
	}
}

// With the real audit: the chain verifies and has each flow's end.
func TestRealAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.jsonl")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w, err := audit.NewWriter(f, "test")
	if err != nil {
		t.Fatal(err)
	}
	pn := newPen(t, someRules, func(c *Config) { c.Record = w })
	pn.all()
	for _, u := range []string{"https://api.test/a", "https://evil.test/b"} {
		get(t, pn.client("h1"), u)
	}
	pn.p.Close()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"flow_open"`, `"flow_close"`, `"path":"/a"`, `"verdict":"deny"`, `"api.test"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
}
