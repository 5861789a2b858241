package netproxy

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/policy/ask"
)

// askingHook is a pen with a person and a hook at points.
func askingHook(t *testing.T, egress string, f hookFunc, on ...hooks.Point) (*pen, *person) {
	return asking(t, egress, func(c *Config) {
		c.Limits = Limits{} // who waits for a processor is not slow
		c.Hooks = []chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: f, On: on}}
	})
}

// TestHookAsks: what a hook leaves to a person waits, and nothing of it leaves before
// the answer is in the record.
func TestHookAsks(t *testing.T) {
	for _, proto := range []string{"h1", "h2"} {
		pn, p := askingHook(t, someRules, func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
			if r.Path == "/fine" {
				return hooks.Decision{Action: hooks.Next}, nil
			}
			return hooks.Decision{Action: hooks.Ask, Reason: "what is " + r.Path + "?"}, nil
		})
		pn.all()
		got := fetched(t, pn.client(proto), request(t, "PUT", "https://api.test/a", "body"))
		q := <-p.asked
		if q.Hook != "test" || q.By != "test.yaml:9 hook test asks: what is /a?" || q.Method != "PUT" || q.Size != 4 || q.Rule != "" {
			t.Errorf("%+v", q)
		}
		if d := pn.dialed(); len(d) != 0 {
			t.Errorf("dialled %v before the answer", d)
		}
		if err := p.Answer(&ask.Answer{ID: q.ID, Allow: true, Scope: ask.Session, By: "anna"}); err != nil {
			t.Fatal(err)
		}
		if s := <-got; !strings.HasPrefix(s, "200") || !strings.Contains(s, "PUT api.test /a") {
			t.Error(s)
		}
		open := wait(t, pn.records, func(*audit.FlowOpen) bool { return true })
		if open.Verdict != hooks.Allow || open.Reason != "approved by anna for the session (question 1)" || len(open.Hooks) != 1 || open.Hooks[0].Decision != "ask" {
			t.Errorf("%+v", open)
		}
		a := wait(t, pn.records, func(a *audit.Ask) bool { return a.Action == "allowed" })
		if a.Hook != "test" || a.Rule != "test.yaml:9" || a.Reason != q.By || a.Approval != "" {
			t.Errorf("%+v", a)
		}
		// It holds for the same words only.
		if resp, _ := get(t, pn.client(proto), "https://api.test/fine"); resp.StatusCode != 200 || len(p.asked) != 0 {
			t.Error(resp.Status)
		}
		if s := <-fetched(t, pn.client(proto), request(t, "PUT", "https://api.test/a", "more")); !strings.HasPrefix(s, "200") || len(p.asked) != 0 {
			t.Error(s)
		}
		refused := fetched(t, pn.client(proto), request(t, "PUT", "https://api.test/b", ""))
		p.says(t, "api.test:443", ask.Answer{Scope: ask.Once})
		if s := <-refused; !strings.HasPrefix(s, "403") || !strings.Contains(s, "denied by anna, once (question 2); hook test asks: what is /b?") {
			t.Error(s)
		}
		open = wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Path == "/b" })
		if open.Verdict != hooks.Deny || open.Rule != "test.yaml:9" {
			t.Errorf("%+v", open)
		}
		wait(t, pn.records, func(c *audit.FlowClose) bool { return c.Flow == open.Flow && c.Class == "ask-denied" })
		// What the rules deny no hook is asked about, and no person.
		if resp, _ := get(t, pn.client(proto), "https://nowhere.test/"); resp.StatusCode != 403 || len(p.asked) != 0 {
			t.Error(resp.Status)
		}
	}
}

// A connection is asked about once, whatever it carries, and what is not read too.
func TestHookAsksAboutConnections(t *testing.T) {
	var asked atomic.Int32
	pn, p := askingHook(t, "  allow: [{host: api.test}, {host: raw.test, ports: [22], protocol: tcp}]", func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		asked.Add(1)
		return hooks.Decision{Action: hooks.Ask, Reason: "who?"}, nil
	}, hooks.PointConnect)
	pn.origin("api.test:443", http.HandlerFunc(hello))
	c := pn.client("h2")
	got := fetched(t, c, request(t, "GET", "https://api.test/a", ""))
	if q := p.says(t, "api.test:443", ask.Answer{Allow: true, Scope: ask.Once}); q.By != "test.yaml:9 about the connection hook test asks: who?" || q.Path != "/a" {
		t.Errorf("%+v", q)
	}
	if s := <-got; !strings.HasPrefix(s, "200") {
		t.Error(s)
	}
	if resp, _ := get(t, c, "https://api.test/b"); resp.StatusCode != 200 || asked.Load() != 1 {
		t.Errorf("%s, asked %d times", resp.Status, asked.Load())
	}
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
	for _, allow := range []bool{false, true} {
		before := len(pn.dialed())
		c := pn.dial("raw.test:22")
		q := <-p.asked
		if q.Protocol != "tcp" || q.Hook != "test" || len(pn.dialed()) != before {
			t.Errorf("%+v, %v", q, pn.dialed())
		}
		if err := p.Answer(&ask.Answer{ID: q.ID, Allow: allow, Scope: ask.Once, By: "anna"}); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); (err == nil && string(b) == "hello\n") != allow || (len(pn.dialed()) > before) != allow {
			t.Errorf("allowed %t: %q, %v, %v", allow, b, err, pn.dialed())
		}
	}
}

// TestHookAsksAnother: who runs another program meanwhile does not go on under the
// answer.
func TestHookAsksAnother(t *testing.T) {
	var same atomic.Bool
	same.Store(true)
	git := []hooks.Executable{{Path: "/usr/bin/git", Dev: 1, Ino: 11}}
	asks := withHook(t, func(context.Context, *hooks.Request) (hooks.Decision, error) {
		return hooks.Decision{Action: hooks.Ask}, nil
	})
	pn, p := asking(t, "  allow: [{host: api.test}, {host: git.test, process: {exe: /usr/bin/git}}]", asks, func(c *Config) {
		c.Limits = Limits{}
		var err error
		if c.Policy, err = c.Policy.ResolveExecutables(func(string) ([]hooks.Executable, error) { return git, nil }); err != nil {
			t.Fatal(err)
		}
		c.Who = func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process {
			return &hooks.Process{PID: 7, Exe: git[0]}
		}
		c.Still = func(context.Context, *hooks.Process, netip.AddrPort, netip.AddrPort) bool { return same.Load() }
	})
	pn.origin("api.test:443", http.HandlerFunc(hello))
	for _, stays := range []bool{true, false} {
		same.Store(true)
		got := fetched(t, pn.client("h1"), request(t, "GET", "https://api.test/", ""))
		asked := <-p.asked
		same.Store(stays)
		if err := p.Answer(&ask.Answer{ID: asked.ID, Allow: true, Scope: ask.Once, By: "anna"}); err != nil {
			t.Fatal(err)
		}
		if s := <-got; strings.HasPrefix(s, "200") != stays || !stays && !strings.Contains(s, "runs something else") {
			t.Errorf("stays %t: %s", stays, s)
		}
	}
}

// TestHookAsksInVain: nobody there, no answer in time, a client that goes, another
// policy, too many questions, the audit mode: nothing leaves.
func TestHookAsksInVain(t *testing.T) {
	always := func(context.Context, *hooks.Request) (hooks.Decision, error) {
		return hooks.Decision{Action: hooks.Ask, Reason: "who?"}, nil
	}
	const rules = "  ask_timeout: 1s\n  allow: [{host: '*.test'}]"
	nobody := newPen(t, rules, withHook(t, always))
	if resp, body := get(t, nobody.client("h1"), "https://api.test/"); resp.StatusCode != 403 || !strings.Contains(body, "there is nobody to ask; hook test asks: who?") {
		t.Errorf("%s %s", resp.Status, body)
	}
	permissive := newPen(t, rules, withHook(t, always), func(c *Config) { c.Permissive = true })
	if resp, body := get(t, permissive.client("h1"), "https://api.test/"); resp.StatusCode != 403 || !strings.Contains(body, "audit mode asks nobody") {
		t.Errorf("%s %s", resp.Status, body)
	}
	pn, p := askingHook(t, rules, always)
	s := <-fetched(t, pn.client("h1"), request(t, "GET", "https://api.test/", ""))
	if !strings.HasPrefix(s, "403") || !strings.Contains(s, "nobody answered within 1s") {
		t.Error(s)
	}
	wait(t, pn.records, func(c *audit.FlowClose) bool { return c.Class == "ask-timeout" })
	<-p.asked

	patient, p2 := askingHook(t, "  allow: [{host: '*.test'}]", always)
	ctx, cancel := context.WithCancel(t.Context())
	got := fetched(t, patient.client("h1"), request(t, "GET", "https://api.test/", "").WithContext(ctx))
	<-p2.asked
	cancel()
	<-p2.withdrawn
	<-got
	got = fetched(t, patient.client("h1"), request(t, "GET", "https://b.test/", ""))
	q := <-p2.asked
	patient.p.SetPolicy(parsePolicy(t, "version: 1\negress: {allow: [{host: '*.test'}]}"))
	p2.Answer(&ask.Answer{ID: q.ID, Allow: true, Scope: ask.Once, By: "anna"})
	if s := <-got; !strings.HasPrefix(s, "403") || !strings.Contains(s, "the policy has changed since it was asked about") {
		t.Error(s)
	}
	var all []<-chan string
	for i := range 17 {
		all = append(all, fetched(t, patient.client("h1"), request(t, "GET", "https://"+strings.Repeat("x", i+1)+".test/", "")))
	}
	wait(t, patient.records, func(a *audit.Ask) bool { return a.Action == "refused" && a.Hook == "test" })
	patient.p.Close()
	for _, c := range all {
		if s := <-c; strings.HasPrefix(s, "200") {
			t.Error(s)
		}
	}
	for _, pn := range []*pen{nobody, permissive, pn, patient} {
		if d := pn.dialed(); len(d) != 0 {
			t.Errorf("dialled %v", d)
		}
	}
}
