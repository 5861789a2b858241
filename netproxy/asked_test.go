package netproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/policy/ask"
)

// person is who is asked in a test.
type person struct {
	*desk.Desk
	asked     chan *ask.Question
	withdrawn chan uint64
}

func (p *person) Ask(q *ask.Question) error { p.asked <- q; return nil }
func (p *person) Withdraw(id uint64)        { p.withdrawn <- id }

// says answers the next question, which must be about a target.
func (p *person) says(t *testing.T, target string, a ask.Answer) *ask.Question {
	t.Helper()
	select {
	case q := <-p.asked:
		if s := q.Target().String(); s != target {
			t.Errorf("asked about %s, not %s", s, target)
		}
		a.ID, a.By = q.ID, "anna"
		if err := p.Answer(&a); err != nil {
			t.Error(err)
		}
		return q
	case <-time.After(20 * time.Second):
		t.Fatalf("nobody asked about %s", target)
	}
	return nil
}

// asking is a pen with a person.
func asking(t *testing.T, egress string, options ...func(*Config)) (*pen, *person) {
	p := &person{asked: make(chan *ask.Question, 100), withdrawn: make(chan uint64, 100)}
	pn := newPen(t, egress, append(options, func(c *Config) {
		p.Desk = desk.New(p, nil, c.Record.Append)
		c.Desk = p.Desk
	})...)
	return pn, p
}

// fetched begins a request; the channel gets status, verdict header and body.
func fetched(t *testing.T, c *http.Client, r *http.Request) <-chan string {
	out := make(chan string, 1)
	go func() {
		resp, err := c.Do(r)
		if err != nil {
			out <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		out <- resp.Status + " " + string(b)
	}()
	return out
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAskedFirst: what is asked about waits, and nothing of it leaves before the
// answer is in the record.
func TestAskedFirst(t *testing.T) {
	for _, proto := range []string{"h1", "h2"} {
		pn, p := asking(t, "  default: ask\n  allow: [{host: api.test}]")
		pn.origin("new.test:443", http.HandlerFunc(hello))
		pn.origin("api.test:443", http.HandlerFunc(hello))
		got := fetched(t, pn.client(proto), request(t, "PUT", "https://new.test/a", "body"))
		q := <-p.asked
		if q.Method != "PUT" || q.Path != "/a" || q.Size != 4 || q.By != "default: ask" || q.Rule != "{host: new.test, protocol: https}" || q.DenyRule != "{host: new.test}" {
			t.Errorf("%+v", q)
		}
		if d := pn.dialed(); len(d) != 0 {
			t.Errorf("dialled %v before the answer", d)
		}
		// What a rule allows is not held up.
		if resp, _ := get(t, pn.client(proto), "https://api.test/"); resp.StatusCode != 200 {
			t.Error(resp.Status)
		}
		if err := p.Answer(&ask.Answer{ID: q.ID, Allow: true, Scope: ask.Session, By: "anna"}); err != nil {
			t.Fatal(err)
		}
		if s := <-got; !strings.HasPrefix(s, "200") || !strings.Contains(s, "PUT new.test /a") {
			t.Error(s)
		}
		open := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Target.Host == "new.test" })
		if open.Verdict != hooks.Allow || open.Reason != "approved by anna for the session (question 1)" {
			t.Errorf("%+v", open)
		}
		var order []string
		pn.records.count(func(e audit.Event) bool {
			switch e := e.(type) {
			case *audit.Ask:
				order = append(order, e.Action)
			case *audit.FlowOpen:
				if e.Target.Host == "new.test" {
					order = append(order, "open")
				}
			}
			return false
		})
		if s := strings.Join(order, " "); s != "asked allowed open" {
			t.Error(s)
		}
		// It holds for the session, and for that host.
		if resp, _ := get(t, pn.client(proto), "https://new.test/b"); resp.StatusCode != 200 || len(p.asked) != 0 {
			t.Errorf("%s, %d questions", resp.Status, len(p.asked))
		}
		refused := fetched(t, pn.client(proto), request(t, "GET", "https://other.test/", ""))
		p.says(t, "other.test:443", ask.Answer{Scope: ask.Once})
		if s := <-refused; !strings.HasPrefix(s, "403") || !strings.Contains(s, "denied by anna, once (question 2)") {
			t.Error(s)
		}
	}
}

func TestAskedInVain(t *testing.T) {
	pn, p := asking(t, "  default: ask\n  ask_timeout: 1s\n  deny: [{host: evil.test}]")
	for _, proto := range []string{"h1", "h2"} {
		s := <-fetched(t, pn.client(proto), request(t, "GET", "https://new.test/", ""))
		if !strings.HasPrefix(s, "403") || !strings.Contains(s, "nobody answered within 1s") || !strings.Contains(s, "--allow new.test") {
			t.Error(s)
		}
		<-p.asked
		if s := <-fetched(t, pn.client(proto), request(t, "GET", "https://evil.test/", "")); !strings.HasPrefix(s, "403") || len(p.asked) != 0 {
			t.Error(s)
		}
	}
	wait(t, pn.records, func(c *audit.FlowClose) bool { return c.Class == "ask-timeout" })
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
}

// A client that goes takes its question with it, also one that has sent more than
// was read.
func TestAskedAndGone(t *testing.T) {
	pn, p := asking(t, "  default: ask\n  ask: [{host: raw.test, ports: [22], protocol: tcp}]")
	gone := func(what string, leave func()) {
		t.Helper()
		q := <-p.asked
		leave()
		select {
		case id := <-p.withdrawn:
			if id != q.ID {
				t.Errorf("%s: question %d is withdrawn, not %d", what, id, q.ID)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the question stays", what)
		}
	}
	for _, proto := range []string{"h1", "h2"} {
		for _, body := range []string{"", strings.Repeat("x", 32<<10)} {
			ctx, cancel := context.WithCancel(t.Context())
			got := fetched(t, pn.client(proto), request(t, "POST", "https://new.test/", body).WithContext(ctx))
			gone(proto, cancel)
			<-got
		}
	}
	c := pn.dial("raw.test:22")
	gone("raw", func() { c.Close() })
	c = pn.dial("unknown.test:99")
	c.Write([]byte{0, 1, 2})
	gone("raw by default", func() { c.Close() })
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
}

// Raw connections and TLS that is passed through wait too.
func TestAskedRaw(t *testing.T) {
	pn, p := asking(t, "  default: ask\n  ask:\n    - {host: raw.test, ports: [22], protocol: tcp}\n    - {host: pass.test, inspect: false}")
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("hello\n")) // the server speaks first
			c.Close()
		}
	}()
	pn.place("raw.test:22", l.Addr().String())
	pn.place("other.test:2222", l.Addr().String())
	pn.origin("pass.test:443", http.HandlerFunc(hello))
	read := func(target string) <-chan string {
		c := pn.dial(target)
		out := make(chan string, 1)
		go func() {
			b, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				b = []byte("reset")
			}
			out <- string(b)
		}()
		return out
	}
	for target, rule := range map[string]string{"raw.test:22": "{host: raw.test, protocol: tcp, ports: [22]}", "other.test:2222": "{host: other.test, protocol: tcp, ports: [2222]}"} {
		before := len(pn.dialed())
		got := read(target)
		q := <-p.asked
		if q.Rule != rule || q.Protocol != "tcp" || len(pn.dialed()) != before {
			t.Errorf("%+v, %v", q, pn.dialed())
		}
		p.Answer(&ask.Answer{ID: q.ID, Scope: ask.Once, By: "anna"})
		if s := <-got; s != "reset" || len(pn.dialed()) != before {
			t.Errorf("%s: denied: %q", target, s)
		}
		got = read(target)
		p.says(t, target, ask.Answer{Allow: true, Scope: ask.Once})
		if s := <-got; s != "hello\n" {
			t.Errorf("%s: %q", target, s)
		}
	}
	// Unread TLS: the origin's own certificate is what the client sees.
	cl := pn.client("h1")
	cl.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	got := fetched(t, cl, request(t, "GET", "https://pass.test/", ""))
	if q := p.says(t, "pass.test:443", ask.Answer{Allow: true, Scope: ask.Session}); q.Protocol != "tls" || q.Rule != "{host: pass.test, protocol: tls}" {
		t.Errorf("%+v", q)
	}
	if s := <-got; !strings.HasPrefix(s, "200") {
		t.Error(s)
	}
}

// Without anybody to ask it is denied, and the audit mode lets out nothing that is
// asked about by a rule.
func TestNobodyToAsk(t *testing.T) {
	pn := newPen(t, "  default: ask\n  ask: [{host: raw.test, ports: [22], protocol: tcp}]")
	if resp, body := get(t, pn.client("h1"), "https://new.test/"); resp.StatusCode != 403 || !strings.Contains(body, "there is nobody to ask") {
		t.Errorf("%s %s", resp.Status, body)
	}
	c := pn.dial("raw.test:22")
	c.Write([]byte{0, 1, 2})
	if _, err := io.ReadAll(c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	open := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Target.Host == "raw.test" })
	if open.Verdict != hooks.Deny || len(pn.dialed()) != 0 {
		t.Errorf("%+v, %v", open, pn.dialed())
	}
}

// What was changed while it waited counts.
func TestAskedUnderAnotherPolicy(t *testing.T) {
	pn, p := asking(t, "  default: ask")
	pn.origin("new.test:443", http.HandlerFunc(hello))
	for _, tt := range []struct{ egress, want, reason string }{
		{"{deny: [{host: new.test}]}", "403", "denied by test.yaml:2"},
		{"{default: deny}", "403", "no rule allows"},
		{"{allow: [{host: new.test}]}", "200", ""},
		{`{ask: [{host: new.test, paths: ["/**"]}]}`, "403", "the policy has changed since it was asked about"},
		{"{default: ask, allow: [{host: x.test}]}", "200", ""},
	} {
		pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: {default: ask}"))
		got := fetched(t, pn.client("h1"), request(t, "GET", "https://new.test/", ""))
		q := <-p.asked
		pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: "+tt.egress))
		p.Answer(&ask.Answer{ID: q.ID, Allow: true, Scope: ask.Once, By: "anna"})
		if s := <-got; !strings.HasPrefix(s, tt.want) || !strings.Contains(s, tt.reason) {
			t.Errorf("%s: %s", tt.egress, s)
		}
	}
}

// A proxy that ends lets nobody go on.
func TestAskedAtTheEnd(t *testing.T) {
	pn, p := asking(t, "  default: ask")
	got := fetched(t, pn.client("h1"), request(t, "GET", "https://new.test/", ""))
	<-p.asked
	pn.p.Close()
	if s := <-got; strings.HasPrefix(s, "200") {
		t.Error(s)
	}
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
}
