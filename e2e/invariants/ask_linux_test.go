package invariants

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

var questionID = regexp.MustCompile(`\(question (\S+)\)`)

// asked starts a fetch that a person is asked about, and returns the question.
func asked(t *testing.T, c *host.Caller, url string, flags ...string) (*host.Session, string) {
	t.Helper()
	c.NoPolicy = true
	return waiting(t, c, url, append(flags, "--ask", "--ca", c.World.CA())...)
}

// waiting starts a fetch that waits for a person, and returns the question.
func waiting(t *testing.T, c *host.Caller, url string, flags ...string) (*host.Session, string) {
	t.Helper()
	s := c.StartTool(flags, "fetch", url)
	host.Until(t, "a question", func() bool { return questionID.MatchString(s.Err.String()) || s.Over() })
	m := questionID.FindStringSubmatch(s.Err.String())
	if m == nil {
		t.Fatalf("nobody is asked\n%s%s", s.Out, s.Err)
	}
	return s, m[1]
}

// TestAskedBeforeItLeaves: for every kind of session nothing of what waits leaves,
// no name is looked up, and the answer of the session's user is recorded first.
func TestAskedBeforeItLeaves(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		good := c.World.HTTP("good.example.com", text("good"))
		s, id := asked(t, c, goodURL)
		c.NothingLeft()
		if good.Hits() != 0 {
			t.Error("it arrived before the answer")
		}
		if r := c.Other("approve", id, "--once"); r.Code != 0 {
			t.Fatal(r)
		}
		if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 200") || good.Hits() != 1 {
			t.Errorf("%d hits\n%s", good.Hits(), r)
		}
		var order []string
		for _, r := range c.Records("") {
			switch r.Text("type") {
			case "ask":
				order = append(order, r.Text("action"))
			case "flow_open":
				order = append(order, r.Text("verdict"))
			}
		}
		if !slices.Equal(order, []string{"asked", "allowed", "allow"}) {
			t.Errorf("recorded: %v", order)
		}
		// A no, and a proxy that dies while it asks, let nothing out.
		s, id = asked(t, c, goodURL)
		if r := c.Other("approve", id, "--deny"); r.Code != 0 {
			t.Fatal(r)
		}
		if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 403") {
			t.Error(r)
		}
		s, id = asked(t, c, goodURL)
		if err := syscall.Kill(s.Role(host.Proxy), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if r := s.Result(); r.Code != 125 {
			t.Error(r)
		}
		if r := c.Other("approve", id, "--once"); r.Code == 0 {
			t.Errorf("a dead proxy is answered\n%s", r)
		}
		if good.Hits() != 1 {
			t.Errorf("%d hits, 1 was approved", good.Hits())
		}
	})
}

// TestHookAsksFirst: for every kind of session nothing leaves of what a hook leaves to
// a person, and no name is looked up, before the answer is recorded.
func TestHookAsksFirst(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		good := c.World.HTTP("good.example.com", text("good"))
		c.Rules = []string{"{host: good.example.com}"}
		c.More = "hooks: [{name: wary, on: [connect], cel: '\"ask: who is \" + request.host'}]"
		s, id := waiting(t, c, goodURL)
		c.NothingLeft()
		if r := c.Other("approve", "--list"); !strings.Contains(r.Stdout, "about the connection hook wary asks: who is good.example.com") {
			t.Error(r)
		}
		if r := c.Other("approve", id, "--once"); r.Code != 0 {
			t.Fatal(r)
		}
		if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 200") || good.Hits() != 1 {
			t.Errorf("%d hits\n%s", good.Hits(), r)
		}
		var order []string
		for _, r := range c.Records("") {
			switch r.Text("type") {
			case "ask":
				order = append(order, r.Text("action")+" by "+r.Text("hook"))
			case "flow_open":
				order = append(order, r.Text("verdict"))
			}
		}
		if !slices.Equal(order, []string{"asked by wary", "allowed by wary", "allow"}) {
			t.Errorf("recorded: %v", order)
		}
		s, id = waiting(t, c, goodURL)
		if r := c.Other("approve", id, "--deny"); r.Code != 0 {
			t.Fatal(r)
		}
		if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 403") || good.Hits() != 1 {
			t.Errorf("%d hits\n%s", good.Hits(), r)
		}
		s, _ = waiting(t, c, goodURL)
		if err := syscall.Kill(s.Role(host.Proxy), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if r := s.Result(); r.Code != 125 || good.Hits() != 1 {
			t.Errorf("%d hits\n%s", good.Hits(), r)
		}
	})
}

// TestFloorHookAsks: what a hook of the administrator's leaves to a person the caller
// can't have let out by audit mode, and nobody is asked where the administrator wants
// that.
func TestFloorHookAsks(t *testing.T) {
	w := world.New(t)
	ann, _, ok := twoUsers(t, w)
	if !ok {
		return
	}
	good := w.HTTP("good.example.com", text("good"))
	sup := ann.Home.Supervisor()
	defer os.Remove(sup.Policy)
	floor := func(content string) {
		t.Helper()
		if err := os.WriteFile(sup.Policy, []byte("version: 1\nhooks: [{name: admin, on: [request], cel: '\"ask: why\"'}]\n"+content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	floor("")
	ann.Rules = []string{"{host: good.example.com}"}
	s, id := waiting(t, ann, goodURL)
	if good.Hits() != 0 {
		t.Error("it arrived before the answer")
	}
	if r := ann.Other("approve", id, "--once"); r.Code != 0 {
		t.Fatal(r)
	}
	if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 200") || good.Hits() != 1 {
		t.Error(r)
	}
	denied := func(why string, flags ...string) {
		t.Helper()
		r := ann.Tool(flags, "fetch", goodURL)
		if questionID.MatchString(r.Stderr) || !strings.Contains(r.Stdout, goodURL+" 403") || good.Hits() != 1 {
			t.Errorf("asked, or not denied\n%s", r)
		}
		if out := ann.Other("audit", "show", "--json"); !strings.Contains(out.Stdout, why) {
			t.Errorf("not because of %s\n%s", why, out)
		}
	}
	denied("does not undo what hook admin says (system)", "--mode", "audit")
	floor("limits: {modes: [enforce]}")
	denied("nobody is asked: that is outside limits.modes")
}

// TestFloorOfQuestions: one user can neither see nor answer another's questions,
// and nobody is asked about what the administrator's file denies or limits.
func TestFloorOfQuestions(t *testing.T) {
	w := world.New(t)
	ann, bob, ok := twoUsers(t, w)
	if !ok {
		return
	}
	good := w.HTTP("good.example.com", text("good"))
	evil := w.HTTP("evil.example.com", text("stolen"))
	sup := ann.Home.Supervisor()
	floor := func(content string) {
		t.Helper()
		if err := os.WriteFile(sup.Policy, []byte("version: 1\n"+content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(sup.Policy)
	floor("egress: {deny: [{host: evil.example.com}]}\nlimits: {egress: [\"*.example.com\"], protocols: [http]}")
	s, id := asked(t, ann, goodURL)
	if r := bob.Other("approve", "--list"); strings.Contains(r.Stdout+r.Stderr, id) || strings.Contains(r.Stdout, "good.example.com") {
		t.Errorf("another user sees it\n%s", r)
	}
	if r := bob.Other("approve", id, "--once"); r.Code == 0 {
		t.Errorf("another user answers\n%s", r)
	}
	if good.Hits() != 0 {
		t.Error("it arrived before the answer")
	}
	if r := ann.Other("approve", id, "--session"); r.Code != 0 {
		t.Fatal(r)
	}
	if r := s.Result(); !strings.Contains(r.Stdout, goodURL+" 200") {
		t.Error(r)
	}
	for _, url := range []string{evilURL, "http://outside.example.org/", "https://good.example.com/"} {
		r := ann.Tool([]string{"--ask", "--ca", w.CA()}, "fetch", url)
		if questionID.MatchString(r.Stderr) || !strings.Contains(r.Stdout, url+" 403") {
			t.Errorf("asked about %s, or not denied\n%s", url, r)
		}
	}
	floor("limits: {modes: [enforce]}")
	if r := ann.Tool([]string{"--ask"}, "fetch", goodURL); r.Code != 125 {
		t.Errorf("asked against the administrator's limits.modes\n%s", r)
	}
	if evil.Hits() != 0 {
		t.Errorf("%d requests to what the floor denies arrived", evil.Hits())
	}
}
