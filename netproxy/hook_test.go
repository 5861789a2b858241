package netproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// hookFunc is a hook in Go.
type hookFunc func(context.Context, *hooks.Request) (hooks.Decision, error)

func (f hookFunc) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	return f(ctx, r)
}

// withHook has the proxy ask one hook.
func withHook(t testing.TB, f hookFunc) func(*Config) {
	t.Helper()
	c, err := chain.New([]chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: f}})
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *Config) { cfg.Hooks = c }
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

// TestHooksMustBeAsked: a proxy that would not ask a policy's hooks is not made.
func TestHooksMustBeAsked(t *testing.T) {
	pn := newPen(t, someRules)
	cfg := pn.p.cfg
	cfg.Policy = parsePolicy(t, "version: 1\nhooks: [{name: h, on: [request], cel: '\"deny\"'}]")
	if p, err := New(cfg); err == nil {
		p.Close()
		t.Error("a policy with hooks and a proxy without")
	}
}
