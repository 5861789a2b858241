package desk

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
	"github.com/penstock/penstock/policy/ask"
)

// signs gives the desk tokens, each of which holds for an hour from now.
func (s *scene) signs(t *testing.T, list ...approval.Statement) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	g := &approval.Given{}
	for i := range list {
		x := &list[i]
		x.ID, x.Audience, x.From, x.Until = approval.NewID(), approval.Any, time.Now().Unix(), time.Now().Add(time.Hour).Unix()
		token, err := approval.Sign(key, x)
		if err != nil {
			t.Fatal(err)
		}
		g.Tokens = append(g.Tokens, token)
	}
	var err error
	if s.signed, err = approval.NewSet(g, []policy.Approver{{Name: "desk", Key: key.Public().(ed25519.PublicKey)}}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// outcome of a request that must not wait.
func (s *scene) outcome(t *testing.T, what string) Outcome {
	t.Helper()
	o, waits := over(s.request(t.Context(), t, what))
	if waits {
		t.Fatalf("%s waits for a person", what)
	}
	return o
}

// TestSignedAnswers: a token answers at once and before a person, the one request
// that it is about, and is in the record first.
func TestSignedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		s.signs(t, approval.Statement{Answer: "allow", Rule: `{host: a.example, methods: [GET], paths: ["/a"]}`, Max: 2},
			approval.Statement{Answer: "deny", Rule: "{host: evil.example}"})
		// A person is asked about another path; a request that a token is about does
		// not join that question, nor the question its answer.
		waiting := s.request(t.Context(), t, "GET https://a.example/b")
		o := s.outcome(t, "GET https://a.example/a")
		if !o.Allowed || !o.Signed || o.Class != "" || !strings.HasPrefix(o.Reason, "approved by token ") || !strings.HasSuffix(o.Reason, ", once (question 2)") || !strings.Contains(o.Reason, " of desk (key ") {
			t.Errorf("%+v", o)
		}
		if _, waits := over(waiting); !waits {
			t.Error("one path's answer is another's")
		}
		if o := s.outcome(t, "POST https://evil.example/"); o.Allowed || o.Class != "ask-denied" || !strings.HasPrefix(o.Reason, "denied by token ") {
			t.Errorf("%+v", o)
		}
		if want := "asked, to the person, allowed, denied"; s.words() != want {
			t.Errorf("%s; want %s", s.words(), want)
		}
		// A person's no stands before a token's yes.
		answered(t, s, ask.Answer{ID: 1, Scope: ask.Session})
		if o := s.outcome(t, "GET https://a.example/a"); o.Allowed || o.Signed {
			t.Errorf("%+v", o)
		}
	})
}

// TestSignedNoStandsFirst: a token's no stands before a person's yes.
func TestSignedNoStandsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		s.signs(t, approval.Statement{Answer: "deny", Rule: `{host: a.example, paths: ["/admin"]}`}, approval.Statement{Answer: "allow", Rule: "{host: a.example}", Max: 1})
		if o := s.outcome(t, "GET https://a.example/"); !o.Allowed {
			t.Errorf("%+v", o)
		}
		waiting := s.request(t.Context(), t, "GET https://a.example/")
		answered(t, s, ask.Answer{ID: 2, Allow: true, Scope: ask.Session})
		if o, waits := over(waiting); waits || !o.Allowed {
			t.Errorf("%+v", o)
		}
		if o := s.outcome(t, "GET https://a.example/admin"); o.Allowed || !o.Signed {
			t.Errorf("%+v", o)
		}
		if o := s.outcome(t, "GET https://a.example/"); !o.Allowed || o.Signed {
			t.Errorf("%+v", o)
		}
	})
}

// TestSignedIsBounded: what a token answers no more is a person's, and denied where
// there is none.
func TestSignedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		s.person = nil
		s.signs(t, approval.Statement{Answer: "allow", Rule: "{host: a.example}", Max: 40})
		nobody := func(why string) {
			t.Helper()
			if o := s.outcome(t, "GET https://a.example/"); o.Allowed || o.Class != "ask-nobody" {
				t.Errorf("%s: %+v", why, o)
			}
		}
		// More than a person would be asked at once, without a wait.
		for i := range 39 {
			if o := s.outcome(t, "GET https://a.example/"); !o.Allowed {
				t.Fatalf("use %d: %+v", i+1, o)
			}
		}
		end := time.Unix(s.signed.Tokens()[0].Until, 0)
		s.now = func() time.Time { return end }
		nobody("its time is over")
		s.now = time.Now
		s.signs(t, approval.Statement{Answer: "allow", Rule: "{host: a.example}", Max: 2})
		s.broken = errors.New("disk full")
		if o := s.outcome(t, "GET https://a.example/"); o.Allowed || o.Class != "audit" {
			t.Errorf("%+v", o)
		}
		s.broken = nil
		if o := s.outcome(t, "GET https://a.example/"); !o.Allowed {
			t.Errorf("%+v", o)
		}
		nobody("it is used up")
		if strings.Contains(s.words(), "person") {
			t.Error(s.words())
		}
	})
}

// TestSignedIsNotForHooks: what a hook says of a request is nothing that was known
// when the token was signed.
func TestSignedIsNotForHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "{default: ask}")
		s.person = nil
		s.signs(t, approval.Statement{Answer: "allow", Rule: "{host: a.example}", Max: 2})
		r, err := policy.ParseRequest("https://a.example/", "GET")
		if err != nil {
			t.Fatal(err)
		}
		if o := s.AskByHook(t.Context(), s.p, r, &ask.Hook{Name: "dlp", Rule: "p.yaml:3", Point: hooks.PointRequest, Why: "hook dlp asks: a key"}); o.Allowed || o.Class != "ask-nobody" {
			t.Errorf("%+v", o)
		}
	})
}
