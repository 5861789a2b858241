package netproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy/ask"
)

const changeValue = "sk-real-0123456789abcdef"

// changing is a pen in which a hook changes requests by their paths. Before it another one
// is asked, which denies what has the field X-Late; seen has what that one saw.
func changing(t *testing.T, changes map[string]*hooks.Change, options ...func(*Config)) (pn *pen, placeholder string, seen func() []string, got func() http.Header) {
	const rules = `  allow:
    - {host: api.test}
    - {host: blue.test, when: 'request.headers["x-team"] == "blue"'}
    - {host: rpc.test, jsonrpc: {methods: [ping]}}
  deny:
    - {host: api.test, when: '"x-danger" in request.headers'}
`
	value := secrets.NewValue(changeValue)
	placeholder = secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "X-Key", Hosts: []string{"api.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	var header http.Header
	next := hooks.Decision{Action: hooks.Next}
	first := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("X-Tool"))
		if r.Header.Get("X-Late") != "" {
			return hooks.Decision{Reason: "too late"}, nil
		}
		return next, nil
	})
	counted := 0
	second := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		if counted++; r.Path == "/count" {
			return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-Count": fmt.Sprint(counted)}}}, nil
		}
		d := next
		if c := changes[r.Path]; c != nil {
			d.Change = c
		}
		return d, nil
	})
	pn = newPen(t, rules, append([]func(*Config){func(c *Config) {
		c.Secrets, c.Limits = set, Limits{} // who waits for a processor is not slow
		c.Hooks = []chain.Entry{{Name: "first", Rule: "test.yaml:18", Hook: first, Timeout: chain.MaxTimeout}, {Name: "second", Rule: "test.yaml:19", Hook: second, Timeout: chain.MaxTimeout}}
	}}, options...)...)
	for _, host := range []string{"api.test:443", "blue.test:443", "rpc.test:443"} {
		pn.origin(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			header = r.Header.Clone()
			mu.Unlock()
			fmt.Fprintf(w, "has %s", body)
		}))
	}
	seen = func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { asked = nil }()
		return asked
	}
	return pn, placeholder, seen, func() http.Header {
		mu.Lock()
		defer mu.Unlock()
		return header
	}
}

// TestHookChanges: what a hook makes of a header is what leaves, with the secrets; rules and
// hooks have judged it; and what can't be made, or would go on being made, denies.
func TestHookChanges(t *testing.T) {
	changes := map[string]*hooks.Change{
		"/set":    {Set: map[string]string{"x-tool": "agent"}, Remove: []string{"user-agent", "x-mine"}},
		"/same":   {Set: map[string]string{"X-Mine": "mine"}, Remove: []string{"x-none"}},
		"/danger": {Set: map[string]string{"X-Danger": "1"}},
		"/red":    {Set: map[string]string{"X-Team": "red"}},
		"/teams":  {Remove: []string{"x-team"}},
		"/blue":   {Set: map[string]string{"X-Tool": "a"}},
		"/late":   {Set: map[string]string{"X-Late": "1"}},
		"/host":   {Set: map[string]string{"Host": "evil.test"}},
		"/key":    {Set: map[string]string{"X-Key": "mine"}},
		"/no-key": {Remove: []string{"X-Key"}},
		"/ping":   {Set: map[string]string{"X-Tool": "b"}},
	}
	pn, placeholder, seen, got := changing(t, changes)
	changes["/steal"] = &hooks.Change{Set: map[string]string{"X-Other": "a " + placeholder}}
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		for _, tt := range []struct {
			url, body string
			why       string   // of a deny
			rule      string   // of the record
			asked     []string // what the first hook saw of X-Tool, each time it was asked
			fields    string   // X-Tool, X-Mine, User-Agent and X-Key, as the origin got them
		}{
			{"https://api.test/", "", "", "test.yaml:4", []string{""}, " mine me/1 " + changeValue},
			{"https://api.test/set", "body", "", "test.yaml:4", []string{"", "agent"}, "agent   " + changeValue},
			{"https://api.test/same", "", "", "test.yaml:4", []string{""}, " mine me/1 " + changeValue},
			{"https://blue.test/blue", "", "", "test.yaml:5", []string{"", "a"}, "a mine me/1 "},
			{"https://rpc.test/ping", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "", "test.yaml:6", []string{"", "b"}, "b mine me/1 "},
			{"https://api.test/danger", "", "denied by", "test.yaml:8", []string{""}, ""},
			{"https://blue.test/red", "", "its when is false", "", []string{""}, ""},
			{"https://blue.test/teams", "", "its when can't be decided", "", []string{""}, ""},
			{"https://api.test/late", "", "denied by hook first: too late", "test.yaml:18", []string{"", ""}, ""},
			{"https://api.test/count", "", "hook second changes again what it was asked about after a change", "test.yaml:19", []string{"", ""}, ""},
			{"https://api.test/host", "", "hook second failed, which denies: it changed Host, which no hook can", "test.yaml:19", []string{""}, ""},
			{"https://api.test/key", "", "hook second changes X-Key, which the policy puts secret KEY in", "test.yaml:19", []string{""}, ""},
			{"https://api.test/no-key", "", "hook second changes X-Key, which the policy puts secret KEY in", "test.yaml:19", []string{""}, ""},
			{"https://blue.test/key", "", "", "test.yaml:5", []string{"", ""}, " mine me/1 mine"},
			{"https://api.test/steal", "", "hook second changes X-Other, and sets it to the placeholder of a secret", "test.yaml:19", []string{""}, ""},
		} {
			before, dials := pn.records.count(opened), len(pn.dialed())
			r := request(t, "POST", tt.url, tt.body)
			r.Header.Set("User-Agent", "me/1")
			r.Header.Set("X-Mine", "mine")
			r.Header.Set("X-Team", "blue")
			if strings.Contains(tt.url, "api.test") {
				r.Header.Set("X-Key", placeholder)
			}
			if strings.Contains(tt.url, "rpc.test") {
				r.Header.Set("Content-Type", "application/json")
			}
			s := <-fetched(t, cl, r)
			if tt.why == "" && s != "200 OK has "+tt.body || tt.why != "" && (!strings.HasPrefix(s, "403") || !strings.Contains(s, tt.why)) {
				t.Errorf("%s %s: %s", proto, tt.url, s)
			}
			if asked := seen(); !slices.Equal(asked, tt.asked) {
				t.Errorf("%s %s: asked about %q, want %q", proto, tt.url, asked, tt.asked)
			}
			if n := pn.records.count(opened) - before; n != 1 {
				t.Fatalf("%s %s: %d records", proto, tt.url, n)
			}
			open := lastOpen(pn)
			if tt.rule != "" && open.Rule != tt.rule || (open.Verdict == hooks.Allow) != (tt.why == "") {
				t.Errorf("%s %s: recorded %+v", proto, tt.url, open)
			}
			if tt.why != "" {
				if len(pn.dialed()) != dials {
					t.Errorf("%s %s: dialled", proto, tt.url)
				}
				continue
			}
			h := got()
			if f := strings.Join([]string{h.Get("X-Tool"), h.Get("X-Mine"), h.Get("User-Agent"), h.Get("X-Key")}, " "); f != tt.fields {
				t.Errorf("%s %s: the origin got %q, want %q", proto, tt.url, f, tt.fields)
			}
			if strings.HasSuffix(tt.url, "/set") {
				if len(open.Hooks) != 4 || open.Hooks[1].Fields == nil || fmt.Sprint(*open.Hooks[1].Fields) != "{[X-Tool] [User-Agent X-Mine]}" || open.Hooks[3].Fields != nil {
					t.Errorf("%s: recorded %+v", proto, open.Hooks)
				}
				if _, ok := h["User-Agent"]; ok {
					t.Errorf("%s: a User-Agent of %q", proto, h["User-Agent"])
				}
			}
		}
	}
}

// TestHookChangesThenAsks: a person is asked about the request as it would leave, once.
func TestHookChangesThenAsks(t *testing.T) {
	pn, p := askingHook(t, "  ask: [{host: api.test}]", func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		if r.Header.Get("X-Tool") == "" {
			return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-Tool": "agent"}}}, nil
		}
		return hooks.Decision{Action: hooks.Ask, Reason: "from " + r.Header.Get("X-Tool") + "?"}, nil
	})
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Tool")) }))
	got := fetched(t, pn.client("h1"), request(t, "GET", "https://api.test/", ""))
	p.says(t, "api.test:443", ask.Answer{Allow: true, Scope: ask.Once}) // by the rule
	if q := p.says(t, "api.test:443", ask.Answer{Allow: true, Scope: ask.Once}); q.By != "test.yaml:9 hook test asks: from agent?" {
		t.Errorf("%+v", q)
	}
	if s := <-got; s != "200 OK agent" || len(p.asked) != 0 {
		t.Errorf("%s, %d more questions", s, len(p.asked))
	}
	if o := wait(t, pn.records, func(*audit.FlowOpen) bool { return true }); len(o.Hooks) != 2 || o.Hooks[0].Fields == nil || o.Hooks[1].Decision != "ask" {
		t.Errorf("%+v", o)
	}
}
