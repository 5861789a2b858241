package desk

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/ask"
)

// scene is a desk with everything that it said to the person and the record.
type scene struct {
	*Desk
	p *policy.Policy

	mu     sync.Mutex
	asked  []*ask.Question
	said   []string // in order: "asked 1", "person 1", "allowed 1", "withdrawn by 1", ...
	broken error    // of the record
	deaf   error    // of the person
}

func newScene(t *testing.T, egress string) *scene {
	t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\negress: "+egress))
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{}
	if s.p, err = policy.New([]*policy.File{f}); err != nil {
		t.Fatal(err)
	}
	s.Desk = New(s, nil, func(e audit.Event) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.broken != nil {
			return s.broken
		}
		a := e.(*audit.Ask)
		s.said = append(s.said, a.Action)
		return nil
	})
	return s
}

// Ask implements Person. It checks what the supervisor checks.
func (s *scene) Ask(q *ask.Question) error {
	if err := q.Check(); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	s.said = append(s.said, "to the person")
	return s.deaf
}

func (s *scene) Withdraw(uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, "withdraw")
}

func (s *scene) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, ", ")
}

// request begins to wait; the channel gets the outcome.
func (s *scene) request(ctx context.Context, t *testing.T, what string) <-chan Outcome {
	t.Helper()
	method, url, _ := strings.Cut(what, " ")
	r, err := policy.ParseRequest(url, method)
	if err != nil {
		t.Fatal(err)
	}
	r.Flow, r.Size = 1, -1
	v := s.p.Decide(r)
	if v.Action != hooks.Ask {
		t.Fatalf("%s: %v", what, v)
	}
	c := make(chan Outcome, 1)
	go func() { c <- s.Desk.Ask(ctx, s.p, r, v) }()
	synctest.Wait()
	return c
}

// over returns the outcome that is there, or says that it waits.
func over(c <-chan Outcome) (o Outcome, waits bool) {
	synctest.Wait()
	select {
	case o := <-c:
		return o, false
	default:
		return Outcome{}, true
	}
}

func answered(t *testing.T, s *scene, a ask.Answer) {
	t.Helper()
	a.By = "anna (uid 1000)"
	if err := s.Answer(&a); err != nil {
		t.Fatal(err)
	}
}

func TestOneQuestionForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		ctx := t.Context()
		var waiting []<-chan Outcome
		for _, what := range []string{"GET https://a.example/1", "HEAD https://a.example/2", "OPTIONS https://a.example/"} {
			waiting = append(waiting, s.request(ctx, t, what))
		}
		write := s.request(ctx, t, "POST https://a.example/1")
		clear := s.request(ctx, t, "GET http://a.example/1")
		port := s.request(ctx, t, "GET https://a.example:8443/1")
		if len(s.asked) != 4 {
			t.Fatalf("%d questions", len(s.asked))
		}
		answered(t, s, ask.Answer{ID: 1, Allow: true, Scope: ask.Once})
		for _, c := range waiting {
			if o, waits := over(c); waits || !o.Allowed || o.Reason != "approved by anna (uid 1000), once (question 1)" {
				t.Errorf("%+v, %v", o, waits)
			}
		}
		for _, c := range []<-chan Outcome{write, clear, port} {
			if _, waits := over(c); !waits {
				t.Error("the answer to one question is another's")
			}
		}
		// Once is once.
		again := s.request(ctx, t, "GET https://a.example/1")
		if _, waits := over(again); !waits || len(s.asked) != 5 {
			t.Error("once counts twice")
		}
		if err := s.Answer(&ask.Answer{ID: 1, Allow: true, Scope: ask.Session, By: "x"}); err == nil {
			t.Error("an answer is taken twice")
		}
	})
}

func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, `{default: ask, ask: [{host: a.example, paths: ["/a/**"]}]}`)
		ctx := t.Context()
		ends := func(what string, want bool) {
			t.Helper()
			if o, waits := over(s.request(ctx, t, what)); waits || o.Allowed != want {
				t.Errorf("%s: %+v, waits %v", what, o, waits)
			}
		}
		asks := func(what string, a ask.Answer) {
			t.Helper()
			c := s.request(ctx, t, what)
			if _, waits := over(c); !waits {
				t.Fatalf("%s is not asked about", what)
			}
			a.ID = s.asked[len(s.asked)-1].ID
			answered(t, s, a)
			if o, waits := over(c); waits || o.Allowed != a.Allow {
				t.Errorf("%s: %+v, waits %v", what, o, waits)
			}
		}
		asks("GET https://r.example/", ask.Answer{Allow: true, Scope: ask.Session})
		ends("HEAD https://r.example/x", true)
		asks("PUT https://r.example/x", ask.Answer{Allow: true, Scope: ask.Always}) // a yes to reading is none to writing
		ends("DELETE https://r.example/x", true)
		asks("POST https://w.example/", ask.Answer{Allow: true, Scope: ask.Session})
		ends("GET https://w.example/", true)
		asks("GET https://n.example/", ask.Answer{Scope: ask.Session})
		ends("GET https://n.example/", false)
		ends("POST https://n.example/", false)
		asks("POST https://o.example/", ask.Answer{Scope: ask.Session})
		asks("GET https://o.example/", ask.Answer{Allow: true, Scope: ask.Session})
		ends("POST https://o.example/", false)
		ends("GET https://o.example/", true)
		asks("GET https://d.example/", ask.Answer{Scope: ask.Once})
		asks("GET https://d.example/", ask.Answer{Scope: ask.Once})
		// Each rule that asks has its own answers.
		asks("GET https://a.example/a/x", ask.Answer{Allow: true, Scope: ask.Session})
		ends("GET https://a.example/a/y", true)
		asks("GET https://a.example/b", ask.Answer{Scope: ask.Once})
		asks("GET https://t.example/", ask.Answer{Allow: true, Scope: ask.For, For: 10 * time.Minute})
		<-time.After(10*time.Minute - time.Second)
		ends("GET https://t.example/", true)
		<-time.After(2 * time.Second)
		asks("GET https://t.example/", ask.Answer{Scope: ask.Once})
	})
}

// TestHookQuestions: an answer to what a hook says is for that, and no answer to a
// rule's question, nor to another hook's.
func TestHookQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		by := func(what string, h ask.Hook) <-chan Outcome {
			method, url, _ := strings.Cut(what, " ")
			r, err := policy.ParseRequest(url, method)
			if err != nil {
				t.Fatal(err)
			}
			c := make(chan Outcome, 1)
			go func() { c <- s.AskByHook(t.Context(), s.p, r, &h) }()
			synctest.Wait()
			return c
		}
		a := ask.Hook{Name: "a", Rule: "p.yaml:4", Why: "hook a asks: one"}
		other, why, later := a, a, a
		other.Rule, why.Why, later.Point = "p.yaml:5", "hook a asks: two", hooks.PointConnect
		first := by("GET https://a.example/", a)
		q := s.asked[0]
		if q.Hook != "a" || q.By != "p.yaml:4 hook a asks: one" || q.Rule != "" {
			t.Errorf("%+v", q)
		}
		answered(t, s, ask.Answer{ID: 1, Allow: true, Scope: ask.Session})
		if o, waits := over(first); waits || !o.Allowed {
			t.Errorf("%+v", o)
		}
		if o, waits := over(by("HEAD https://a.example/x", a)); waits || !o.Allowed {
			t.Errorf("%+v", o)
		}
		waiting := []<-chan Outcome{by("GET https://a.example/", other), by("GET https://a.example/", why), by("GET https://a.example/", later),
			by("PUT https://a.example/", a), by("GET http://a.example/", a), s.request(t.Context(), t, "GET https://a.example/")}
		for i, c := range waiting {
			if o, waits := over(c); !waits {
				t.Errorf("%d: the answer to another question is taken: %+v", i, o)
			}
		}
		// Over a connection comes what may.
		if joined := by("PUT https://a.example/", later); len(s.asked) != 7 {
			t.Errorf("%d questions", len(s.asked))
		} else if answered(t, s, ask.Answer{ID: 4, Scope: ask.Once}); true {
			if o, waits := over(joined); waits || o.Allowed || o.Class != "ask-denied" {
				t.Errorf("%+v", o)
			}
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask, ask_timeout: 5s}")
		first := s.request(t.Context(), t, "GET https://a.example/")
		<-time.After(3 * time.Second)
		second := s.request(t.Context(), t, "GET https://a.example/")
		<-time.After(2*time.Second - time.Millisecond)
		if _, waits := over(first); !waits {
			t.Error("too early")
		}
		<-time.After(time.Millisecond)
		for _, c := range []<-chan Outcome{first, second} {
			if o, waits := over(c); waits || o.Allowed || o.Class != "ask-timeout" || !strings.Contains(o.Reason, "nobody answered within 5s") {
				t.Errorf("%+v, %v", o, waits)
			}
		}
		if w := s.words(); w != "asked, to the person, timeout, withdraw" {
			t.Error(w)
		}
		if err := s.Answer(&ask.Answer{ID: 1, Allow: true, Scope: ask.Session, By: "late"}); err == nil {
			t.Error("too late, and taken")
		}
		if _, waits := over(s.request(t.Context(), t, "GET https://a.example/")); !waits {
			t.Error("a late answer counts")
		}
	})
}

func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		one, goes := context.WithCancel(t.Context())
		two, both := context.WithCancel(t.Context())
		first, second := s.request(one, t, "GET https://a.example/"), s.request(two, t, "GET https://a.example/")
		goes()
		if o, waits := over(first); waits || o.Allowed {
			t.Errorf("%+v, %v", o, waits)
		}
		if _, waits := over(second); !waits {
			t.Error("the question went with the first that asked")
		}
		both()
		if o, waits := over(second); waits || o.Allowed || o.Class != "ask-withdrawn" {
			t.Errorf("%+v, %v", o, waits)
		}
		if w := s.words(); w != "asked, to the person, withdrawn, withdraw" {
			t.Error(w)
		}
	})
}

func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		host := func(i int) string {
			return "GET https://h" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + ".example/"
		}
		for i := range ask.MaxOpen {
			s.request(t.Context(), t, host(i))
		}
		for i := range 100 {
			if o, waits := over(s.request(t.Context(), t, host(ask.MaxOpen+i))); waits || o.Class != "ask-flood" {
				t.Fatalf("%d: %+v, %v", i, o, waits)
			}
		}
		if len(s.asked) != ask.MaxOpen || s.Refused() != 100 {
			t.Errorf("%d questions, %d refused", len(s.asked), s.Refused())
		}
		if n := strings.Count(s.words(), "refused"); n != 3 { // 1, 10, 100
			t.Errorf("%d records", n)
		}
		// Answered at once, it is still bounded in a time.
		n := 0
		for i := range 100 {
			for _, q := range s.asked {
				s.Answer(&ask.Answer{ID: q.ID, Scope: ask.Once, By: "x"})
			}
			if o, waits := over(s.request(t.Context(), t, host(200+i))); waits || o.Class != "ask-flood" {
				n++
			}
		}
		if n != burst-ask.MaxOpen {
			t.Errorf("%d more questions", n)
		}
		<-time.After(refill)
		if _, waits := over(s.request(t.Context(), t, host(400))); !waits {
			t.Error("later nothing is asked either")
		}
		if q := s.asked[len(s.asked)-1]; q.Refused < 100 {
			t.Errorf("the person is not told: %d", q.Refused)
		}
		synctest.Wait()
	})
}

// What can't be recorded or asked is denied.
func TestFailsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		s.broken = errors.New("disk full")
		if o, waits := over(s.request(t.Context(), t, "GET https://a.example/")); waits || o.Allowed || o.Class != "audit" || len(s.asked) != 0 {
			t.Errorf("%+v, %v", o, waits)
		}
		s.broken = nil
		c := s.request(t.Context(), t, "GET https://a.example/")
		s.mu.Lock()
		s.broken = errors.New("disk full")
		s.mu.Unlock()
		answered(t, s, ask.Answer{ID: s.asked[0].ID, Allow: true, Scope: ask.Session})
		if o, waits := over(c); waits || o.Allowed || o.Class != "audit" {
			t.Errorf("%+v, %v", o, waits)
		}
		s.mu.Lock()
		s.broken, s.deaf = nil, errors.New("gone")
		s.mu.Unlock()
		if o, waits := over(s.request(t.Context(), t, "GET https://a.example/")); waits || o.Allowed || o.Class != "ask-withdrawn" {
			t.Errorf("%+v, %v", o, waits)
		}
		for _, bad := range []ask.Answer{{}, {ID: 1, By: "x"}, {ID: 1, Scope: ask.For, By: "x"}, {ID: 1, Scope: ask.Once, For: 1, By: "x"}, {ID: 1, Scope: "ever", By: "x"}, {ID: 1, Scope: ask.Once}} {
			if err := s.Answer(&bad); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
	})
}
