package chain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/hooks"
)

// hookFunc is a hook in Go.
type hookFunc func(context.Context, *hooks.Request) (hooks.Decision, error)

func (f hookFunc) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	return f(ctx, r)
}

// promptHook promises to come back.
type promptHook struct{ hookFunc }

func (promptHook) Prompt() {}

func says(d hooks.Decision, err error) hookFunc {
	return func(context.Context, *hooks.Request) (hooks.Decision, error) { return d, err }
}

func newChain(t testing.TB, entries ...Entry) *Chain {
	t.Helper()
	c, err := New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var request = &hooks.Request{Target: hooks.Target{Host: "a.example", Port: 443}, Method: "GET", Path: "/", Header: http.Header{"A": {"b"}}}

// TestAnswers: next is the only one that lets on, and no answer is a deny.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 400)
	ok := &hooks.Answer{Status: 200, Body: []byte("hello"), Header: http.Header{"Content-Type": {"text/plain"}}}
	for name, tt := range map[string]struct {
		hook   hooks.Hook
		want   hooks.Action
		trace  string
		reason string
	}{
		"next":                {says(hooks.Decision{Action: hooks.Next}, nil), hooks.Next, "next", ""},
		"deny":                {says(hooks.Decision{Reason: "no"}, nil), hooks.Deny, "deny", "denied by hook h: no"},
		"deny, nothing said":  {says(hooks.Decision{}, nil), hooks.Deny, "deny", "denied by hook h"},
		"allow":               {says(hooks.Decision{Action: hooks.Allow}, nil), hooks.Deny, "failed", "an action that is not known"},
		"ask":                 {says(hooks.Decision{Action: hooks.Ask, Reason: "\x1b[2J", Answer: ok}, nil), hooks.Ask, "ask", `hook h asks: "\x1b[2J"`},
		"route":               {says(hooks.Decision{Action: hooks.Route, Via: "corp", Reason: "why", Answer: ok}, nil), hooks.Next, "route", ""},
		"route, nowhere":      {says(hooks.Decision{Action: hooks.Route}, nil), hooks.Deny, "failed", "by no name of an upstream"},
		"route, a URL":        {says(hooks.Decision{Action: hooks.Route, Via: "http://x:1"}, nil), hooks.Deny, "failed", "by no name of an upstream"},
		"next with a via":     {says(hooks.Decision{Action: hooks.Next, Via: "corp"}, nil), hooks.Next, "next", ""},
		"200":                 {says(hooks.Decision{Action: 200}, nil), hooks.Deny, "failed", "an action that is not known"},
		"error":               {says(hooks.Decision{Action: hooks.Next}, errors.New("boom")), hooks.Deny, "failed", "boom"},
		"panic":               {hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) { panic("boom") }), hooks.Deny, "failed", "it panicked: boom"},
		"prompt panic":        {promptHook{func(context.Context, *hooks.Request) (hooks.Decision, error) { panic("boom") }}, hooks.Deny, "failed", "it panicked: boom"},
		"reply":               {says(hooks.Decision{Action: hooks.Reply, Answer: ok}, nil), hooks.Reply, "reply", "answered by hook h"},
		"reply, no answer":    {says(hooks.Decision{Action: hooks.Reply}, nil), hooks.Deny, "failed", "can't be sent"},
		"reply, informal":     {says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 101}}, nil), hooks.Deny, "failed", "can't be sent"},
		"reply, no status":    {says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{}}, nil), hooks.Deny, "failed", "can't be sent"},
		"reply, too long":     {says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200, Body: make([]byte, hooks.MaxAnswer+1)}}, nil), hooks.Deny, "failed", "can't be sent"},
		"an escape":           {says(hooks.Decision{Reason: "\x1b[2J\n\u202e"}, nil), hooks.Deny, "deny", `"\x1b[2J\n\u202e"`},
		"a long reason":       {says(hooks.Decision{Reason: long}, nil), hooks.Deny, "deny", strings.Repeat("x", 300) + "..."},
		"an error's escape":   {says(hooks.Decision{}, errors.New("\x1b[2J")), hooks.Deny, "failed", `"\x1b[2J"`},
		"next with an answer": {says(hooks.Decision{Action: hooks.Next, Answer: ok}, nil), hooks.Next, "next", ""},
	} {
		t.Run(name, func(t *testing.T) {
			last := 0
			c := newChain(t, Entry{Name: "h", Rule: "f:1", Hook: tt.hook}, Entry{Name: "last", Hook: hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) {
				last++
				return hooks.Decision{Action: hooks.Next}, nil
			})})
			d, trace := c.Request(t.Context(), request)
			if d.Action != tt.want || !strings.Contains(d.Reason, tt.reason) || trace[0].Hook != "h" || trace[0].Decision != tt.trace {
				t.Errorf("%+v %+v", d, trace)
			}
			if (last == 1) != (tt.want == hooks.Next || tt.want == hooks.Ask) || len(trace) != 1+last {
				t.Errorf("the next hook was asked %d times; %+v", last, trace)
			}
			if tt.want != hooks.Next && d.Rule != "f:1" {
				t.Errorf("it stands at %q", d.Rule)
			}
			if (d.Via != "") != (name == "route") || name == "route" && (d.Via != "corp" || trace[0].Reason != "corp: why" || d.Rule != "f:1") {
				t.Errorf("%+v %+v", d, trace)
			}
			if (d.Answer != nil) != (tt.want == hooks.Reply) {
				t.Errorf("the answer is %+v", d.Answer)
			}
		})
	}
}

// TestSeveralAsk: a person is asked once for all of them, and only where nobody else
// has anything against it.
func TestSeveralAsk(t *testing.T) {
	ask := func(why string) hooks.Hook { return says(hooks.Decision{Action: hooks.Ask, Reason: why}, nil) }
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	for name, tt := range map[string]struct {
		hooks  []hooks.Hook
		at     hooks.Point
		want   hooks.Action
		reason string
		names  string
	}{
		"two":           {[]hooks.Hook{next, ask("one"), next, ask("")}, hooks.PointRequest, hooks.Ask, "hook b asks: one; hook d asks", "b d"},
		"a connection":  {[]hooks.Hook{ask("one")}, hooks.PointConnect, hooks.Ask, "hook a asks: one", "a"},
		"then a deny":   {[]hooks.Hook{ask("one"), says(hooks.Decision{Reason: "no"}, nil)}, hooks.PointRequest, hooks.Deny, "denied by hook b: no", "a"},
		"then an error": {[]hooks.Hook{ask("one"), says(hooks.Decision{Action: hooks.Next}, errors.New("boom"))}, hooks.PointRequest, hooks.Deny, "hook b failed, which denies: boom", "a"},
		"then a reply":  {[]hooks.Hook{ask("one"), says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}}, nil)}, hooks.PointRequest, hooks.Reply, "answered by hook b", "a"},
		"too late":      {[]hooks.Hook{ask("one")}, hooks.PointResponse, hooks.Deny, "hook a failed, which denies: it left to a person what has left already", ""},
		"of a body":     {[]hooks.Hook{ask("one")}, hooks.PointRequestBody, hooks.Deny, "hook a failed", ""},
	} {
		var entries []Entry
		for i, h := range tt.hooks {
			entries = append(entries, Entry{Name: string(rune('a' + i)), Rule: "f:" + string(rune('1'+i)), Hook: h, On: []hooks.Point{tt.at}})
		}
		q := *request
		q.Point = tt.at
		d, trace := newChain(t, entries...).Request(t.Context(), &q)
		if d.Action != tt.want || !strings.HasPrefix(d.Reason, tt.reason) || strings.Join(Askers(trace), " ") != tt.names {
			t.Errorf("%s: %+v %+v", name, d, trace)
		}
		if name == "two" && d.Rule != "f:2" {
			t.Errorf("it stands at %s", d.Rule)
		}
	}
}

// TestSeveralRoute: all that route say the same, beside others that ask; elsewhere and
// where two differ it is denied.
func TestSeveralRoute(t *testing.T) {
	via := func(name string) hooks.Hook { return says(hooks.Decision{Action: hooks.Route, Via: name}, nil) }
	ask := says(hooks.Decision{Action: hooks.Ask}, nil)
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	for name, tt := range map[string]struct {
		hooks       []hooks.Hook
		at          hooks.Point
		want        hooks.Action
		reason, via string
	}{
		"one":        {[]hooks.Hook{next, via("corp"), next}, hooks.PointRequest, hooks.Next, "", "corp"},
		"the same":   {[]hooks.Hook{via("corp"), via("corp")}, hooks.PointConnect, hooks.Next, "", "corp"},
		"and ask":    {[]hooks.Hook{ask, via("corp"), ask}, hooks.PointRequest, hooks.Ask, "hook a asks; hook c asks", "corp"},
		"differ":     {[]hooks.Hook{via("corp"), next, via("direct")}, hooks.PointRequest, hooks.Deny, "hook a routes via corp, and hook c via direct", ""},
		"and a deny": {[]hooks.Hook{via("corp"), says(hooks.Decision{}, nil)}, hooks.PointRequest, hooks.Deny, "denied by hook b", ""},
		"too late":   {[]hooks.Hook{via("corp")}, hooks.PointResponse, hooks.Deny, "hook a failed", ""},
		"of a body":  {[]hooks.Hook{via("corp")}, hooks.PointResponseBody, hooks.Deny, "hook a failed", ""},
	} {
		var entries []Entry
		for i, h := range tt.hooks {
			entries = append(entries, Entry{Name: string(rune('a' + i)), Rule: "f:" + string(rune('1'+i)), Hook: h, On: []hooks.Point{tt.at}})
		}
		q := *request
		q.Point = tt.at
		d, trace := newChain(t, entries...).Request(t.Context(), &q)
		if d.Action != tt.want || !strings.HasPrefix(d.Reason, tt.reason) || d.Via != tt.via {
			t.Errorf("%s: %+v %+v", name, d, trace)
		}
	}
}

// TestReplyHeader: a reply says nothing about its connection or its length.
func TestReplyHeader(t *testing.T) {
	h := http.Header{"content-type": {"text/plain"}, "X-Why": {"a", "b\r\nSet-Cookie: c"}, "X A": {"x"}, "X-\u00e9": {"x"}, "Connection": {"close"}, "Transfer-Encoding": {"chunked"},
		"Content-Length": {"1"}, "Set-Cookie": {"a=b"}, "Upgrade": {"x"}, "Location": {"http://x"}, "X-Long": {strings.Repeat("a", 2000)}}
	c := newChain(t, Entry{Name: "h", Hook: says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200, Header: h}}, nil)})
	d, _ := c.Request(t.Context(), request)
	if got := fmt.Sprint(d.Answer.Header); got != "map[Content-Type:[text/plain] X-Why:[a]]" {
		t.Error(got)
	}
}

// TestAbout: only hooks about the target are asked, in order, and none is none.
func TestAbout(t *testing.T) {
	var none *Chain
	if d, trace := none.Request(t.Context(), request); d.Action != hooks.Next || trace != nil || none.Len() != 0 || none.Stats() != nil {
		t.Errorf("%+v %+v", d, trace)
	}
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	c := newChain(t,
		Entry{Name: "a", Hook: next},
		Entry{Name: "b", Hook: says(hooks.Decision{}, nil), About: func(t *hooks.Target) bool { return t.Host == "b.example" }},
		Entry{Name: "c", Hook: next})
	if d, trace := c.Request(t.Context(), request); d.Action != hooks.Next || len(trace) != 2 || trace[0].Hook != "a" || trace[1].Hook != "c" {
		t.Errorf("%+v %+v", d, trace)
	}
	other := *request
	other.Target.Host = "b.example"
	if d, trace := c.Request(t.Context(), &other); d.Action != hooks.Deny || len(trace) != 2 {
		t.Errorf("%+v %+v", d, trace)
	}
	if st := c.Stats(); st[0].Asked != 2 || st[1].Denied != 1 || st[2].Asked != 1 {
		t.Errorf("%+v", st)
	}
}

// TestWhoIsAsked: who would be asked first at a point about a target, and who is about
// bodies only; nobody where there is no such hook.
func TestWhoIsAsked(t *testing.T) {
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	only := func(host string) func(*hooks.Target) bool {
		return func(t *hooks.Target) bool { return t.Host == host }
	}
	c := newChain(t,
		Entry{Name: "b", Rule: "p:1", Hook: next, On: []hooks.Point{hooks.PointRequestBody}, About: only("b.example")},
		Entry{Name: "all", Rule: "p:2", Hook: next, On: []hooks.Point{hooks.PointResponse, hooks.PointResponseBody, hooks.PointWebSocket}},
		Entry{Name: "late", Rule: "p:3", Hook: next, On: []hooks.Point{hooks.PointResponse, hooks.PointSessionStart}, About: only("b.example")})
	for _, tt := range []struct {
		c     *Chain
		p     hooks.Point
		host  string
		first string
		blind string
	}{
		{c, hooks.PointResponse, "a.example", "all p:2", " "},
		{c, hooks.PointResponse, "b.example", "all p:2", "b p:1"},
		{c, hooks.PointRequestBody, "a.example", " ", " "},
		{c, hooks.PointRequestBody, "b.example", "b p:1", "b p:1"},
		{c, hooks.PointConnect, "b.example", " ", "b p:1"},
		{c, hooks.PointSessionStart, "", "late p:3", " "},
		{nil, hooks.PointResponse, "a.example", " ", " "},
		{newChain(t, Entry{Name: "h", Hook: next}), hooks.PointResponse, "a.example", " ", " "},
	} {
		to := &hooks.Target{Host: tt.host, Port: 443}
		name, rule, ok := tt.c.First(tt.p, to)
		if name+" "+rule != tt.first || ok != (name != "") || tt.c.Asks(tt.p, to) != ok {
			t.Errorf("%s to %s: first %s %s %t", tt.p, tt.host, name, rule, ok)
		}
		if name, rule, ok = tt.c.Blind(to); name+" "+rule != tt.blind || ok != (name != "") {
			t.Errorf("%s to %s: blind %s %s %t", tt.p, tt.host, name, rule, ok)
		}
	}
}

// TestBodyChangedByAnAnswer: who is asked by Request, which passes no body on, can't change one.
func TestBodyChangedByAnAnswer(t *testing.T) {
	r := *request
	r.Point, r.Body = hooks.PointRequestBody, &hooks.Body{Data: []byte("a"), Last: true, Room: 10}
	c := newChain(t, Entry{Name: "h", On: []hooks.Point{r.Point}, Inspect: changing, Hook: says(hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Body: []byte("b")}}, nil)})
	if d, _ := c.Request(t.Context(), &r); d.Action != hooks.Deny || d.Change != nil || !strings.Contains(d.Reason, errChange.Error()) {
		t.Errorf("%+v", d)
	}
}

func TestNewRefuses(t *testing.T) {
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	for _, e := range []Entry{{Name: "h"}, {Hook: next, Timeout: -1}, {Hook: next, Timeout: time.Minute}, {Hook: next, Concurrency: -1}, {Hook: next, Concurrency: 5000}, {Hook: next, On: []hooks.Point{hooks.PointRequest, 99}}, {Hook: next, Inspect: hooks.Inspect{Max: -1}}} {
		if _, err := New([]Entry{e}); err == nil {
			t.Errorf("%+v is taken", e)
		}
	}
}

// TestDeadline: a hook that does not come back is a deny at its deadline, has no
// room for more than its concurrency, and still has a request of its own.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hangs := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
			<-release
			if r.Header.Get("A") != "b" {
				t.Error("its request has changed")
			}
			return hooks.Decision{Action: hooks.Next}, nil
		})
		c := newChain(t, Entry{Name: "h", Hook: hangs, Timeout: time.Second, Concurrency: 2})
		r := *request
		r.Header = request.Header.Clone()
		start := time.Now()
		var wg sync.WaitGroup
		reasons := make(chan string, 3)
		for range 3 {
			wg.Go(func() {
				d, _ := c.Request(t.Context(), &r)
				if d.Action != hooks.Deny {
					t.Errorf("%+v", d)
				}
				reasons <- d.Reason
			})
		}
		wg.Wait()
		close(reasons)
		if time.Since(start) != time.Second {
			t.Errorf("it took %s", time.Since(start))
		}
		slow, busy := 0, 0
		for s := range reasons {
			switch {
			case strings.HasSuffix(s, errSlow.Error()):
				slow++
			case strings.HasSuffix(s, errBusy.Error()):
				busy++
			}
		}
		if slow != 2 || busy != 1 {
			t.Errorf("%d slow, %d busy", slow, busy)
		}
		r.Header.Set("A", "changed")
		close(release)
		synctest.Wait()
		if d, _ := c.Request(t.Context(), request); d.Action != hooks.Next {
			t.Errorf("when it is back: %+v", d)
		}
	})
}

// TestClientGone: who hangs up waits for nothing, and the hook is not to blame.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := hookFunc(func(ctx context.Context, _ *hooks.Request) (hooks.Decision, error) {
			<-ctx.Done()
			return hooks.Decision{Action: hooks.Next}, nil
		})
		c := newChain(t, Entry{Name: "h", Hook: waits, Timeout: time.Second})
		for range 2 * breakAfter {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if d, _ := c.Request(ctx, request); d.Action != hooks.Deny || !strings.Contains(d.Reason, errGone.Error()) {
				t.Errorf("%+v", d)
			}
			synctest.Wait()
		}
		if c.Stats()[0].Open {
			t.Error("clients that hang up open the breaker")
		}
	})
}

// TestBreaker: a hook that keeps failing is not asked for a while, which denies,
// and then once to see.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, works := 0, false
		c := newChain(t, Entry{Name: "h", Hook: hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) {
			if asked++; works {
				return hooks.Decision{Action: hooks.Next}, nil
			}
			return hooks.Decision{Action: hooks.Next}, errors.New("boom")
		})})
		ask := func(want hooks.Action, reason string) {
			t.Helper()
			if d, _ := c.Request(t.Context(), request); d.Action != want || !strings.Contains(d.Reason, reason) {
				t.Errorf("%+v, want %s %s", d, want, reason)
			}
		}
		for range breakAfter {
			ask(hooks.Deny, "boom")
		}
		works = true
		for range 3 {
			ask(hooks.Deny, "failed several times")
		}
		if asked != breakAfter || !c.Stats()[0].Open || c.Stats()[0].Failed != breakAfter+3 {
			t.Errorf("asked %d times, %+v", asked, c.Stats())
		}
		<-time.After(breakFor)
		works = false
		ask(hooks.Deny, "boom")
		ask(hooks.Deny, "failed several times")
		<-time.After(breakFor)
		works = true
		ask(hooks.Next, "")
		ask(hooks.Next, "")
		if c.Stats()[0].Open {
			t.Error("it stays open")
		}
	})
}

// TestBreakerProbesOnce: of a crowd that waits for a broken hook to come back one
// request is let through to it.
func TestBreakerProbesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, release := 0, make(chan struct{})
		c := newChain(t, Entry{Name: "h", Timeout: time.Second, Hook: hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) {
			if asked++; asked <= breakAfter {
				return hooks.Decision{}, errors.New("boom")
			}
			<-release
			return hooks.Decision{Action: hooks.Next}, nil
		})})
		for range breakAfter {
			c.Request(t.Context(), request)
		}
		<-time.After(breakFor)
		go c.Request(t.Context(), request)
		synctest.Wait()
		if d, _ := c.Request(t.Context(), request); d.Action != hooks.Deny || !strings.Contains(d.Reason, errOpen.Error()) || asked != breakAfter+1 {
			t.Errorf("%+v, asked %d times", d, asked)
		}
		close(release)
		synctest.Wait()
		if d, _ := c.Request(t.Context(), request); d.Action != hooks.Next {
			t.Errorf("%+v", d)
		}
	})
}

// TestPromptDeadline: an answer that comes too late is none.
func TestPromptDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t, Entry{Name: "h", Hook: promptHook{func(context.Context, *hooks.Request) (hooks.Decision, error) {
			<-time.After(time.Second + 1)
			return hooks.Decision{Action: hooks.Next}, nil
		}}, Timeout: time.Second})
		if d, _ := c.Request(t.Context(), request); d.Action != hooks.Deny || !strings.Contains(d.Reason, errSlow.Error()) {
			t.Errorf("%+v", d)
		}
	})
}

// TestNoTurn: who finds no turn in time, or has gone before it came, is denied, whatever
// the hook would have said; and when there is room again it is asked.
func TestNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, wrap := range map[string]func(hookFunc) hooks.Hook{
			"prompt": func(h hookFunc) hooks.Hook { return promptHook{h} },
			"other":  func(h hookFunc) hooks.Hook { return h },
		} {
			release, asked := make(chan struct{}), 0
			c := newChain(t, Entry{Name: "h", Timeout: time.Second, Concurrency: 1, Hook: wrap(func(context.Context, *hooks.Request) (hooks.Decision, error) {
				asked++
				<-release
				return hooks.Decision{Action: hooks.Next}, nil
			})})
			go c.Request(t.Context(), request)
			synctest.Wait()
			start := time.Now()
			d, trace := c.Request(t.Context(), request)
			if d.Action != hooks.Deny || !strings.HasSuffix(d.Reason, errBusy.Error()) || trace[0].Decision != "failed" || time.Since(start) != time.Second {
				t.Errorf("%s: busy: %+v after %s", name, d, time.Since(start))
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			start = time.Now()
			if d, _ := c.Request(gone, request); d.Action != hooks.Deny || time.Since(start) != 0 {
				t.Errorf("%s: gone: %+v after %s", name, d, time.Since(start))
			}
			if asked != 1 {
				t.Errorf("%s: asked %d times", name, asked)
			}
			close(release)
			synctest.Wait()
			if d, _ := c.Request(t.Context(), request); d.Action != hooks.Next {
				t.Errorf("%s: with room: %+v", name, d)
			}
		}
	})
}

// TestWords: what a hook says is bounded and harmless, whatever it decides.
func TestWords(t *testing.T) {
	for name, said := range map[string]string{
		"much": strings.Repeat("a", 1<<20), "an escape": "\x1b[2J", "a line": "no\r\nx-a: b", "no UTF-8": strings.Repeat("\xff", 400), "an override": "\u202e", "a NUL": "\x00",
	} {
		for what, d := range map[string]hooks.Decision{
			"deny": {Action: hooks.Deny, Reason: said}, "ask": {Action: hooks.Ask, Reason: said}, "route": {Action: hooks.Route, Via: "corp", Reason: said}, "next": {Action: hooks.Next, Reason: said},
		} {
			got, trace := newChain(t, Entry{Name: "h", Hook: says(d, nil)}).Request(t.Context(), request)
			for _, s := range []string{got.Reason, trace[0].Reason} {
				if len(s) > 4*maxReason+100 || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
					t.Errorf("%s, %s: %d bytes: %.80q", what, name, len(s), s)
				}
			}
		}
		if got, trace := newChain(t, Entry{Name: "h", Hook: says(hooks.Decision{Action: hooks.Next}, errors.New(said))}).Request(t.Context(), request); got.Action != hooks.Deny || len(got.Reason) > 4*maxReason+100 || len(trace[0].Reason) > 4*maxReason+100 {
			t.Errorf("an error, %s: %d bytes", name, len(got.Reason))
		}
	}
}

// TestPromptIsNeverBroken: what fails of a pure function is the request.
func TestPromptIsNeverBroken(t *testing.T) {
	fail := true
	c := newChain(t, Entry{Name: "h", Hook: promptHook{func(context.Context, *hooks.Request) (hooks.Decision, error) {
		if fail {
			return hooks.Decision{}, errors.New("boom")
		}
		return hooks.Decision{Action: hooks.Next}, nil
	}}})
	for range 3 * breakAfter {
		if d, _ := c.Request(t.Context(), request); d.Action != hooks.Deny {
			t.Fatalf("%+v", d)
		}
	}
	fail = false
	if d, _ := c.Request(t.Context(), request); d.Action != hooks.Next {
		t.Errorf("%+v", d)
	}
}

func BenchmarkRequest(b *testing.B) {
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	for name, h := range map[string]hooks.Hook{"prompt": promptHook{next}, "other": next} {
		c := newChain(b, Entry{Name: "h", Hook: h})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Request(b.Context(), request)
			}
		})
	}
}
