package netproxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
)

const gitPush = "https://git.test/r/git-receive-pack"

// creation is the list of a push that creates one ref.
func creation(ref string) string {
	line := strings.Repeat("0", 40) + " " + strings.Repeat("a", 40) + " " + ref + "\x00report-status side-band-64k"
	return fmt.Sprintf("%04x%s0000", len(line)+4, line)
}

func gzipped(parts ...string) string {
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		io.WriteString(z, p)
		z.Close()
	}
	return b.String()
}

// TestGitPushBody: what a tool that is no git sends as a push. What is denied has
// not left, what is allowed arrives as it was sent, and the audit has the verdict
// before the origin has the request.
func TestGitPushBody(t *testing.T) {
	const rules = "  allow:\n    - {host: git.test, git: {repos: [r], push: true, branches: [agent/*]}}\n"
	createX, createM := creation("refs/heads/agent/x"), creation("refs/heads/mainx")
	big := createX + strings.Repeat("PACK, or what is taken for it", 200_000)
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			pn := newPen(t, rules)
			var got atomic.Pointer[string]
			pn.origin("git.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if pn.records.count(func(e audit.Event) bool {
					o, ok := e.(*audit.FlowOpen)
					return ok && o.Verdict == hooks.Allow && strings.Contains(o.Reason, "push to refs/heads/agent/x")
				}) == 0 {
					t.Error("it is here before its verdict is recorded")
				}
				b, _ := io.ReadAll(r.Body)
				s := string(b)
				got.Store(&s)
			}))
			cl := pn.client(proto)
			denied := 0
			for _, c := range []struct {
				name, body, encoding string
				chunked              bool
				want                 string // "": it arrives
			}{
				{name: "plain", body: createX},
				{name: "chunked", body: createX, chunked: true},
				{name: "big", body: big, chunked: true},
				{name: "gzip", body: gzipped(createX + "PACK"), encoding: "gzip"},
				{name: "none", want: "ends within its commands"},
				{name: "main", body: createM, want: "refs/heads/mainx is none of its branches"},
				{name: "main, chunked", body: createM + strings.Repeat("x", 3<<20), chunked: true, want: "refs/heads/mainx is none of its branches"},
				{name: "main in gzip", body: gzipped(createM), encoding: "gzip", want: "refs/heads/mainx is none of its branches"},
				{name: "two members", body: gzipped(createX, createM), encoding: "gzip", want: "more behind what is compressed"},
				{name: "behind gzip", body: gzipped(createX) + createM, encoding: "gzip", want: "more behind what is compressed"},
				{name: "a bomb", body: gzipped(createX + strings.Repeat("\x00", 40<<20)), encoding: "gzip", want: "too long or malformed"},
				{name: "half a gzip", body: gzipped(big)[:200], encoding: "gzip", want: "too long or malformed"},
				{name: "no gzip", body: createX, encoding: "gzip", want: "not compressed as it says"},
				{name: "gzip unsaid", body: gzipped(createX), want: "not in the form of git"},
				{name: "twice", body: gzipped(gzipped(createX)), encoding: "gzip, gzip", want: "a way that can't be judged"},
				{name: "deflate", body: createX, encoding: "deflate", want: "a way that can't be judged"},
				{name: "JSON", body: `{"a": 1}`, want: "not in the form of git"},
			} {
				got.Store(nil)
				var body io.Reader = strings.NewReader(c.body)
				if c.chunked {
					body = struct{ io.Reader }{body}
				}
				r, err := http.NewRequestWithContext(t.Context(), "POST", gitPush, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
				if c.encoding != "" {
					r.Header.Set("Content-Encoding", c.encoding)
				}
				resp, err := cl.Do(r)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				answer, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if c.want == "" {
					if s := got.Load(); resp.StatusCode != 200 || s == nil || *s != c.body {
						t.Errorf("%s: %s %s %v", c.name, resp.Status, answer, err)
					}
					continue
				}
				if s := got.Load(); s != nil || !strings.Contains(string(answer), c.want) || resp.Header.Get(VerdictHeader) != "deny" {
					t.Errorf("%s: %s %v %s, want %q; the origin has %v", c.name, resp.Status, resp.Header, answer, c.want, s)
				}
				denied++
				if n := pn.records.count(func(e audit.Event) bool { o, ok := e.(*audit.FlowOpen); return ok && o.Verdict == hooks.Deny }); n != denied {
					t.Errorf("%s: %d denials are recorded, not %d", c.name, n, denied)
				}
			}
			if n := pn.p.held.Load(); n != 0 {
				t.Errorf("%d bytes are held of requests that have ended", n)
			}
		})
	}
}

// TestGitPushBroken: a body that ends by a fault is not judged by what came of it,
// and one with a secret's placeholder is misuse.
func TestGitPushBroken(t *testing.T) {
	const rules = "  allow:\n    - {host: git.test, git: {repos: [r], push: true, branches: [agent/*]}}\n"
	value := secrets.NewValue("sk-real-0123456789abcdef")
	placeholder := secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "Authorization", Hosts: []string{"git.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	pn := newPen(t, rules, func(c *Config) { c.Secrets = set })
	pn.origin("git.test:443", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it has left") }))
	cl := pn.client("h1")
	send := func(body io.Reader) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", gitPush, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		resp, err := cl.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	if _, err := send(io.MultiReader(strings.NewReader(creation("refs/heads/agent/x")[:50]), failing{})); err == nil {
		t.Error("a body that broke off has an answer")
	}
	wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Verdict == hooks.Deny && strings.Contains(o.Reason, "body") })
	resp, err := send(strings.NewReader(fmt.Sprintf("%04x%s", len(placeholder)+4, placeholder)))
	if err != nil || resp.StatusCode != 403 {
		t.Errorf("%v %v", resp, err)
	}
	wait(t, pn.records, func(v *audit.Violation) bool { return v.Kind == "secret-misuse" })
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("it breaks off") }

// TestJSONRPCBody: calls are judged before anything of them leaves, arrive as they
// were sent, and the value of a secret goes into them after that.
func TestJSONRPCBody(t *testing.T) {
	value := secrets.NewValue("sk-real-0123456789abcdef")
	placeholder := secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, JSON: "params.key", Hosts: []string{"secret.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	const rules = "  allow:\n    - {host: rpc.test, jsonrpc: {methods: [tools/call], tools: [search]}}\n    - {host: rpc.test, jsonrpc: {methods: [long], max_body: 4MiB}}\n    - {host: secret.test, jsonrpc: {methods: [login], max_body: 4MiB}}\n"
	call := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + "}"
	}
	long := strings.Repeat("x", 1<<20)
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			pn := newPen(t, rules, func(c *Config) { c.Secrets = set })
			var got atomic.Pointer[string]
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				s := string(b)
				got.Store(&s)
			})
			pn.origin("rpc.test:443", h)
			pn.origin("secret.test:443", h)
			cl := pn.client(proto)
			for _, c := range []struct{ host, body, arrives, want string }{
				{host: "rpc.test", body: call("tools/call", `{"name":"search"}`)},
				{host: "rpc.test", body: call("long", `["`+long+`"]`)},
				{host: "rpc.test", body: call("tools/call", `{"name":"exec"}`), want: `tool "exec" is none of its tools`},
				{host: "rpc.test", body: call("tools/call", `{"name":"search","x":"`+long+`"}`), want: "longer than the rule reads"},
				{host: "rpc.test", body: call("long", `["`+long+long+long+long+`"]`), want: "longer than the rule reads"},
				{host: "rpc.test", want: "it is not JSON"},
				{host: "secret.test", body: call("login", `{"key":"`+placeholder+`"}`), arrives: call("login", `{"key":"sk-real-0123456789abcdef"}`)},
				{host: "secret.test", body: call("logout", `{"key":"`+placeholder+`"}`), want: `"logout" is none of its methods`},
				{host: "secret.test", body: call("login", `{"other":"`+placeholder+`"}`), want: "secret KEY"},
				{host: "secret.test", body: call("login", `["`+long+`"]`)},
				{host: "secret.test", body: call("login", `["`+long+`","`+placeholder+`"]`), want: "secret KEY"},
			} {
				for _, chunked := range []bool{false, true} {
					got.Store(nil)
					var body io.Reader = strings.NewReader(c.body)
					if chunked {
						body = struct{ io.Reader }{body}
					}
					resp, err := cl.Post("https://"+c.host+"/mcp", "application/json", body)
					if err != nil {
						t.Fatal(err)
					}
					answer, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					s := got.Load()
					if c.arrives == "" {
						c.arrives = c.body
					}
					switch {
					case c.want == "" && (resp.StatusCode != 200 || s == nil || *s != c.arrives):
						t.Errorf("%.80s: %s %s", c.body, resp.Status, answer)
					case c.want != "" && (resp.StatusCode != 403 || !strings.Contains(string(answer), c.want) || s != nil && c.host == "rpc.test"):
						t.Errorf("%.80s: %s %s, want %q", c.body, resp.Status, answer, c.want)
					}
				}
			}
			wait(t, pn.records, func(o *audit.FlowOpen) bool {
				return o.Verdict == hooks.Allow && strings.HasSuffix(o.Reason, `: "tools/call" of "search"`) && strings.HasSuffix(o.Rule, ":4")
			})
			if n := pn.p.held.Load(); n != 0 {
				t.Errorf("%d bytes are held of requests that have ended", n)
			}
		})
	}
}

// TestGraphQLBody: both kinds of rules about JSON at one host, each asked once.
func TestGraphQLBody(t *testing.T) {
	pn := newPen(t, "  allow:\n    - {host: api.test, graphql: {operations: [query]}}\n    - {host: api.test, graphql: {operations: [mutation], fields: [add]}}\n    - {host: api.test, jsonrpc: {methods: [ping]}}\n")
	var got []string
	pn.origin("api.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, string(b))
	}))
	cl := pn.client("h2")
	var want []string
	for body, rule := range map[string]string{
		`{"query":"{ a: b { c } }"}`:                        "test.yaml:4",
		`{"query":"mutation M { add }"}`:                    "test.yaml:5",
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:          "test.yaml:6",
		`{"query":"mutation { add remove }"}`:               "",
		`{"query":"query A { b } mutation B { remove }"}`:   "",
		`{"jsonrpc":"2.0","id":1,"method":"pong"}`:          "",
		`{"query":"{ ` + strings.Repeat("a ", 1<<19) + `}"`: "",
	} {
		resp, err := cl.Post("https://api.test/x", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if (resp.StatusCode == 200) != (rule != "") {
			t.Errorf("%.60s: %s %s", body, resp.Status, answer)
		}
		if rule == "" {
			continue
		}
		want = append(want, body)
		wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Verdict == hooks.Allow && o.Rule == rule })
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the origin has %q, want %q", got, want)
	}
}

// TestJudgedTwice: a request that a handler changes after its verdict is judged
// again, with the whole of its body, and is captured and sent whole.
func TestJudgedTwice(t *testing.T) {
	w, captured := captureFile(t)
	pn := newPen(t, `  allow:
    - {host: rpc.test, paths: [/a, /b], capture: {request: 1KiB}, jsonrpc: {methods: [ping]}}
    - {host: rpc.test, paths: [/a], jsonrpc: {methods: [only-a]}}
`, func(c *Config) { c.Capture = w })
	pn.p.Chain().OnRequest().DoFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
		r.URL.Path = "/b"
		return r, nil
	})
	var got []string
	pn.origin("rpc.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, r.URL.Path+" "+string(b))
	}))
	cl := pn.client("h1")
	for _, c := range []struct {
		body   string
		status int
	}{{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, 200}, {`{"jsonrpc":"2.0","id":1,"method":"only-a"}`, 403}} {
		resp, err := cl.Post("https://rpc.test/a", "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s", c.body, resp.Status)
		}
	}
	if want := `/b {"jsonrpc":"2.0","id":1,"method":"ping"}`; len(got) != 1 || got[0] != want {
		t.Errorf("the origin has %q, want %q", got, want)
	}
	closed := wait(t, pn.records, func(c *audit.FlowClose) bool { return c.Status == 200 })
	x := captured()
	if e, err := x.Of(closed.Flow); err != nil || e == nil || string(e.Request.Body) != `{"jsonrpc":"2.0","id":1,"method":"ping"}` {
		t.Errorf("captured: %+v %v", e, err)
	}
}
