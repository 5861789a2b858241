package netproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// naming is a hook about names, and what it was asked.
type naming struct {
	mu    sync.Mutex
	asked []string
	says  func(host string) (hooks.Decision, error)
}

func (n *naming) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, fmt.Sprintf("%s %s %s %s:%d %t %t", r.Point, r.Lookup.Type, r.Lookup.Rule, r.Target.Host, r.Target.Port, r.Flow != 0, r.Protocol == hooks.ProtocolUnknown && r.Method == "" && r.Path == "" && r.Header == nil))
	return n.says(r.Target.Host)
}

// take returns what was asked since the last time.
func (n *naming) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.asked = nil }()
	return strings.Join(n.asked, "; ")
}

func (n *naming) say(f func(string) (hooks.Decision, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.says = f
}

func nextTo(string) (hooks.Decision, error) { return hooks.Decision{Action: hooks.Next}, nil }
func denies(string) (hooks.Decision, error) { return hooks.Decision{Reason: "no such thing"}, nil }

const namesPolicy = `
  allow:
    - {host: api.test}
    - {host: raw.test, ports: [9000], protocol: tcp}
    - {host: some.test, ports: [1]}
  deny:
    - {host: evil.test}
    - {host: some.test, ports: [1-3]}
`

func namesPen(t *testing.T, says func(string) (hooks.Decision, error), options ...func(*Config)) (*pen, *naming) {
	n := &naming{says: says}
	return newPen(t, namesPolicy, append(options, func(c *Config) {
		c.Hooks = []chain.Entry{{Name: "names", Rule: "test.yaml:9", Hook: n, On: []hooks.Point{hooks.PointDNS}, About: func(t *hooks.Target) bool { return t.Host != "free.test" }}}
	})...), n
}

// TestJudgeName: the hooks are asked about names that something may go to, and no hook
// learns of the others; whatever is no next denies.
func TestJudgeName(t *testing.T) {
	pn, n := namesPen(t, nextTo)
	for name, want := range map[string]string{
		"api.test": "dns A test.yaml:5 api.test:0 false true", "raw.test": "dns A test.yaml:6 raw.test:0 false true",
		"evil.test": "", "other.test": "", "some.test": "", "free.test": "", "": "", "a..b": "", "x.api.test": "",
	} {
		if ask := pn.p.JudgeName(name, "A"); ask != nil {
			if d, trace := ask(t.Context()); d.Action != hooks.Next || len(trace) != 1 || trace[0].Point != hooks.PointDNS {
				t.Errorf("%s: %+v %+v", name, d, trace)
			}
		}
		if got := n.take(); got != want {
			t.Errorf("%s: asked %q, want %q", name, got, want)
		}
	}
	for name, says := range map[string]func(string) (hooks.Decision, error){
		"deny": denies, "failed": func(string) (hooks.Decision, error) { return hooks.Decision{Action: hooks.Next}, errors.New("boom") },
		"panic": func(string) (hooks.Decision, error) { panic("boom") },
		"ask":   func(string) (hooks.Decision, error) { return hooks.Decision{Action: hooks.Ask}, nil },
		"route": func(string) (hooks.Decision, error) { return hooks.Decision{Action: hooks.Route, Via: "direct"}, nil },
		"allow": func(string) (hooks.Decision, error) { return hooks.Decision{Action: hooks.Allow}, nil },
		"reply": func(string) (hooks.Decision, error) {
			return hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}}, nil
		},
		"change": func(string) (hooks.Decision, error) {
			return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Remove: []string{"x"}}}, nil
		},
	} {
		n.say(says)
		if d, trace := pn.p.JudgeName("api.test", "AAAA")(t.Context()); d.Action != hooks.Deny || !strings.Contains(d.Reason, "hook names") || (trace[0].Decision == "deny") != (name == "deny") {
			t.Errorf("%s: %+v %+v", name, d, trace)
		}
	}
	if pn, _ := namesPen(t, nextTo, func(c *Config) { c.Permissive = true }); pn.p.JudgeName("evil.test", "A") != nil {
		t.Error("in audit mode a hook learns of a name that a rule denies")
	}
}

// TestNamesAtConnections: an address that the pen has kept from before, or that it never
// asked for, is no way round a hook about its name.
func TestNamesAtConnections(t *testing.T) {
	pn, n := namesPen(t, nextTo)
	pn.all()
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api") }))
	for _, proto := range []string{"h1", "h2"} {
		n.say(nextTo)
		c := pn.client(proto)
		if resp, body := get(t, c, "https://api.test/"); resp.StatusCode != 200 || body != "api" {
			t.Errorf("%s: %s %s", proto, resp.Status, body)
		}
		if got := n.take(); got != "dns  test.yaml:5 api.test:0 true true" {
			t.Errorf("%s: asked %q", proto, got)
		}
		get(t, c, "https://api.test/again")
		if got := n.take(); got != "" {
			t.Errorf("%s: asked again on the same connection: %q", proto, got)
		}
		// Another connection, to the address that the pen has had all the time.
		n.say(denies)
		before := len(pn.dialed())
		resp, body := get(t, pn.client(proto), "https://api.test/denied/"+proto)
		if resp.StatusCode != 403 || !strings.Contains(body, "denied by hook names: no such thing") {
			t.Errorf("%s: %s %s", proto, resp.Status, body)
		}
		open := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Path == "/denied/"+proto })
		n.take()
		if open.Verdict != hooks.Deny || open.Rule != "test.yaml:9" || len(open.Hooks) != 1 || open.Hooks[0].Point != hooks.PointDNS || open.Hooks[0].Decision != "deny" {
			t.Errorf("%s: recorded %+v", proto, open)
		}
		if len(pn.dialed()) != before {
			t.Errorf("%s: dialled %v", proto, pn.dialed())
		}
	}
	// Who names the host to the proxy has asked no resolver.
	for scheme, target := range map[string]string{"http": "https://api.test/by/http", "socks5": "https://api.test/by/socks5"} {
		c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(mustURL(scheme + "://" + pn.explicit)), TLSClientConfig: &tls.Config{RootCAs: pn.trust}, DisableKeepAlives: true}}
		if resp, body := get(t, c, target); resp.StatusCode != 403 || !strings.Contains(body, "denied by hook names") || n.take() == "" {
			t.Errorf("by a proxy of %s: %s %s", scheme, resp.Status, body)
		}
	}
	// What is not read.
	pn, n = namesPen(t, denies)
	pn.place("raw.test:9000", "127.0.0.1:1")
	c := pn.dial("raw.test:9000")
	io.WriteString(c, "hello")
	if got, err := io.ReadAll(c); len(got) > 0 || err == nil {
		t.Errorf("raw: %q, %v", got, err)
	}
	if got := n.take(); got != "dns  test.yaml:6 raw.test:0 true true" {
		t.Errorf("raw: asked %q", got)
	}
	// The policy's own word comes first, and nobody else is asked.
	if resp, _ := get(t, pn.client("h1"), "https://evil.test/"); resp.StatusCode != 403 || n.take() != "" {
		t.Errorf("evil: %s", resp.Status)
	}
}
