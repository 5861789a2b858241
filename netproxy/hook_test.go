package netproxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/webhook"
	"github.com/penstock/penstock/policy"
)

// hookFunc is a hook in Go.
type hookFunc func(context.Context, *hooks.Request) (hooks.Decision, error)

func (f hookFunc) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	return f(ctx, r)
}

// withHook has the proxy ask one hook.
func withHook(t testing.TB, f hookFunc) func(*Config) {
	t.Helper()
	return func(cfg *Config) { cfg.Hooks = []chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: f}} }
}

// TestHook: a hook is asked about what the policy allows, before anything leaves,
// and what it says is recorded.
func TestHook(t *testing.T) {
	answer := func(d hooks.Decision, err error) hookFunc {
		return func(context.Context, *hooks.Request) (hooks.Decision, error) { return d, err }
	}
	for name, c := range map[string]struct {
		hook             hookFunc
		status           int
		body, trace, why string
	}{
		"next":  {answer(hooks.Decision{Action: hooks.Next}, nil), 200, "api.test /x", "next", ""},
		"deny":  {answer(hooks.Decision{Reason: "not today"}, nil), 403, "denied by hook test: not today", "deny", "denied by hook test: not today"},
		"error": {answer(hooks.Decision{Action: hooks.Next}, errors.New("boom")), 403, "hook test failed, which denies: boom", "failed", "boom"},
		"panic": {func(context.Context, *hooks.Request) (hooks.Decision, error) { panic("boom") }, 403, "it panicked", "failed", "boom"},
		"allow": {answer(hooks.Decision{Action: hooks.Allow}, nil), 403, "an action that is not known", "failed", "an action that is not known"},
		"reply": {answer(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 418, Body: []byte("a teapot"),
			Header: http.Header{"X-Penstock-Verdict": {"allow"}, "X-Kind": {"tea"}}}}, nil), 418, "a teapot", "reply", "answered by hook test"},
		"reply, no content":   {answer(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 204, Body: []byte("left out"), Header: http.Header{}}}, nil), 204, "", "reply", "answered by hook test"},
		"reply, not modified": {answer(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 304, Body: []byte("left out"), Header: http.Header{}}}, nil), 304, "", "reply", "answered by hook test"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				pn := newPen(t, someRules, withHook(t, c.hook))
				pn.all()
				resp, body := get(t, pn.client(proto), "https://api.test/x")
				if resp.StatusCode != c.status || !strings.Contains(body, c.body) {
					t.Errorf("%s: %s %q", proto, resp.Status, body)
				}
				o := wait(t, pn.records, func(*audit.FlowOpen) bool { return true })
				if len(o.Hooks) != 1 || o.Hooks[0].Hook != "test" || o.Hooks[0].Decision != c.trace || !strings.Contains(o.Reason, c.why) {
					t.Errorf("%s: recorded %+v", proto, o)
				}
				if st := pn.p.Stats().Hooks; len(st) != 1 || st[0].Asked != 1 || st[0].Denied+st[0].Failed+st[0].Replied != map[bool]uint64{true: 0, false: 1}[c.status == 200] {
					t.Errorf("%s: counted %+v", proto, st)
				}
				if c.status == 200 {
					continue
				}
				if d := pn.dialed(); len(d) > 0 || o.Verdict != hooks.Deny || o.Rule != "test.yaml:9" {
					t.Errorf("%s: dialled %v, recorded %+v", proto, d, o)
				}
				if name == "reply" && (resp.Header.Get(VerdictHeader) != "reply" || resp.Header.Get("X-Kind") != "tea") {
					t.Errorf("%s: %v", proto, resp.Header)
				}
				if cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Flow == o.Flow }); cl.Class != "hook" {
					t.Errorf("%s: closed as %q", proto, cl.Class)
				}
			}
		})
	}
}

// TestHookNeverAllows: what the policy denies no hook is asked about, also when
// audit mode lets it through whatever a hook says; there a hook's deny holds.
func TestHookNeverAllows(t *testing.T) {
	asked := make(chan string, 10)
	pn := newPen(t, someRules, withHook(t, func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		asked <- r.Target.Host
		return hooks.Decision{Action: hooks.Next}, nil
	}))
	pn.all()
	for _, u := range []string{"https://evil.test/", "https://other.test/", "https://paths.test/closed"} {
		if resp, _ := get(t, pn.client("h1"), u); resp.StatusCode != 403 {
			t.Errorf("%s: %s", u, resp.Status)
		}
	}
	if len(asked) > 0 {
		t.Errorf("a hook was asked about %s, which the policy denies", <-asked)
	}
	pn = newPen(t, someRules, func(c *Config) { c.Permissive = true }, withHook(t, func(context.Context, *hooks.Request) (hooks.Decision, error) {
		return hooks.Decision{Reason: "no"}, nil
	}))
	pn.all()
	for _, u := range []string{"https://other.test/", "https://api.test/"} {
		if resp, _ := get(t, pn.client("h1"), u); resp.StatusCode != 403 {
			t.Errorf("in audit mode %s: %s", u, resp.Status)
		}
		if o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return strings.Contains(u, o.Target.Host) }); o.Mode != "enforce" {
			t.Errorf("what is refused is recorded as let through: %+v", o)
		}
	}
	if d := pn.dialed(); len(d) > 0 {
		t.Errorf("dialled %v", d)
	}
}

// TestHookSeesWhatLeaves: method, path, header and size are those that are
// forwarded, a placeholder is one, and a handler's change is judged again.
func TestHookSeesWhatLeaves(t *testing.T) {
	var seen []string
	pn := newPen(t, someRules, withHook(t, func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		seen = append(seen, r.Method+" "+r.Path+"?"+r.Query+" "+r.Header.Get("X-A")+r.Header.Get("Connection"))
		return hooks.Decision{Action: hooks.Next}, nil
	}))
	pn.all()
	r, err := http.NewRequestWithContext(t.Context(), "PUT", "https://api.test/a/%62?c=d", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-A", "e")
	resp, err := pn.client("h1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if len(seen) != 1 || seen[0] != "PUT /a/b?c=d e" {
		t.Errorf("the hook saw %q", seen)
	}
}

// TestHooksMustBeAsked: a policy whose hooks nobody compiled makes no proxy, and
// lets nothing out when it replaces another.
func TestHooksMustBeAsked(t *testing.T) {
	const text = "version: 1\negress: {allow: [{host: api.test}]}\nhooks: [{name: h, on: [request], cel: 'request.path == \"/no\" ? \"deny\" : \"next\"'}]"
	pn := newPen(t, someRules)
	pn.all()
	f, err := policy.Parse("test.yaml", policy.User, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	cfg := pn.p.cfg
	cfg.Policy = raw
	if p, err := New(cfg); err == nil {
		p.Close()
		t.Error("a proxy that can't ask its policy's hooks")
	}
	cl := pn.client("h1")
	for _, c := range []struct {
		policy *policy.Policy
		path   string
		want   int
	}{{pn.p.cfg.Policy, "/no", 200}, {raw, "/", 403}, {parsePolicy(t, text), "/", 200}, {parsePolicy(t, text), "/no", 403}} {
		pn.p.SetPolicy(c.policy)
		if resp, body := get(t, cl, "https://api.test"+c.path); resp.StatusCode != c.want {
			t.Errorf("%s: %s %s", c.path, resp.Status, body)
		}
	}
}

// TestWebhook: the policy's webhook is asked by the guard's way, over TLS that is
// verified, with what the request is, and decides; what it is asked is no flow.
func TestWebhook(t *testing.T) {
	key := []byte("0123456789abcdef")
	pn := newPen(t, someRules)
	pn.all()
	var mu sync.Mutex
	var paths []string
	pn.origin("hooks.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, _ := io.ReadAll(r.Body)
		if r.Header.Get(webhook.SignatureHeader) != webhook.Sign(key, r.Header.Get(webhook.TimeHeader), q) || r.URL.Path != "/ask" {
			t.Errorf("%s is signed %q", r.URL, r.Header.Get(webhook.SignatureHeader))
		}
		var asked struct {
			ID, Path, Host string
			Headers        map[string][]string
		}
		if err := json.Unmarshal(q, &asked); err != nil {
			t.Error(err)
		}
		mu.Lock()
		paths = append(paths, asked.Host+asked.Path)
		mu.Unlock()
		decision := "next"
		if asked.Path == "/no" {
			decision = "deny"
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"version": 1, "id": asked.ID, "decision": decision})
	}))
	pol := parsePolicy(t, "version: 1\negress: {allow: [{host: api.test}]}\nhooks: [{name: soc, on: [request], hosts: [api.test], http: 'https://hooks.test/ask', key: 'env:K', timeout: 10s}]")
	cfg := pn.p.cfg
	cfg.Policy = pol
	if p, err := New(cfg); err == nil {
		p.Close()
		t.Error("a webhook without a key")
	}
	pn.p.cfg.HookKeys = map[string][]byte{"soc": key}
	pn.p.SetPolicy(pol)
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		for path, want := range map[string]int{"/": 200, "/no": 403} {
			if resp, body := get(t, cl, "https://api.test"+path); resp.StatusCode != want {
				t.Errorf("%s %s: %s %s", proto, path, resp.Status, body)
			}
		}
		if resp, _ := get(t, cl, "https://evil.test/"); resp.StatusCode != 403 {
			t.Errorf("%s: %s", proto, resp.Status)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(paths)
	if got := strings.Join(paths, " "); got != "api.test/ api.test/ api.test/no api.test/no" {
		t.Errorf("asked about %s", got)
	}
	o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Path == "/no" })
	if o.Reason != "denied by hook soc" || len(o.Hooks) != 1 {
		t.Errorf("recorded %+v", o)
	}
	// Nobody there: nothing gets out.
	pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: {allow: [{host: api.test}]}\nhooks: [{name: soc, on: [request], http: 'https://gone.test/ask', key: 'env:K'}]"))
	if resp, body := get(t, pn.client("h1"), "https://api.test/"); resp.StatusCode != 403 || !strings.Contains(body, "hook soc failed, which denies: it can't be asked") {
		t.Errorf("%s %s", resp.Status, body)
	}
}
