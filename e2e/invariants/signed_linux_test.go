package invariants

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// signer is a key of a caller's, and the policy that names it and has everything
// asked about.
type signer struct {
	c           *host.Caller
	key, policy string
	public      string
}

func newSigner(t *testing.T, c *host.Caller, egress string) *signer {
	t.Helper()
	s := &signer{c: c, key: filepath.Join(c.Home.Path, "desk.key"), policy: filepath.Join(c.Home.Path, "ask.yaml")}
	r := c.Other("approve", "keygen", "--out", s.key)
	if r.Code != 0 {
		t.Fatal(r)
	}
	s.public = strings.TrimSpace(r.Stdout)
	text := "version: 1\negress:\n  default: ask\n  ca: [" + host.Quote(c.World.CA()) + "]\n  approvers: {desk: \"" + s.public + "\"}\n" + egress
	if err := os.WriteFile(s.policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c.NoPolicy = true
	return s
}

// grant signs a token, and returns the file that it is in.
func (s *signer) grant(t *testing.T, flags ...string) string {
	t.Helper()
	r := s.c.Other(append([]string{"approve", "grant", "--key", s.key, "--for", "1h", "--any"}, flags...)...)
	if r.Code != 0 {
		t.Fatal(r)
	}
	f, err := os.CreateTemp(s.c.Home.Path, "token-*")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(r.Stdout); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// fetch has curl get URLs in a pen with nobody to ask, each with a connection of its
// own, and returns the codes of the answers.
func (s *signer) fetch(t *testing.T, tokens []string, urls ...string) (world.Result, string) {
	t.Helper()
	flags := []string{"--ci", "--policy", s.policy}
	for _, f := range tokens {
		flags = append(flags, "--approvals", f)
	}
	r := s.c.Run(flags, append([]string{"sh", "-c", `for u; do curl -sS -m 20 -o /dev/null -w '%{http_code} ' "$u"; done`, "sh"}, urls...)...)
	return r, strings.TrimSpace(r.Stdout)
}

// TestSignedAnswersHeadless: for every kind of session, where nobody can be asked, a
// signed token has just those requests go out that it is about, as often as it says,
// and each is recorded first.
func TestSignedAnswersHeadless(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		good, evil := c.World.HTTP("good.example.com", text("good")), c.World.HTTP("evil.example.com", text("stolen"))
		s := newSigner(t, c, "")
		r, codes := s.fetch(t, nil, goodURL)
		if codes != "403" {
			t.Error(r)
		}
		c.NothingLeft()
		before := c.Sessions()
		yes := s.grant(t, "--host", goodURL+"a", "--method", "GET", "--process", "/usr/bin/curl", "--max", "2")
		no := s.grant(t, "--host", "http://good.example.com/a/private/**", "--deny")
		all := s.grant(t, "--host", "http://good.example.com/a/**", "--max", "100")
		r, codes = s.fetch(t, []string{yes, no, all}, goodURL+"a", goodURL+"b", goodURL+"a/private/x", evilURL, goodURL+"a", goodURL+"a/x", goodURL+"a/../b")
		if codes != "200 403 403 403 200 200 403" || r.Code != 0 {
			t.Errorf("%s\n%s", codes, r)
		}
		if good.Hits() != 3 || evil.Hits() != 0 {
			t.Errorf("%d and %d hits", good.Hits(), evil.Hits())
		}
		if q := c.World.Queries(); slices.ContainsFunc(q, func(q world.Query) bool { return strings.Contains(q.Name, "evil") }) {
			t.Errorf("the internet's DNS was asked: %v", q)
		}
		var order []string
		now := slices.DeleteFunc(c.Sessions(), func(id string) bool { return slices.Contains(before, id) })
		for _, r := range c.Records(now[0]) {
			switch r.Text("type") {
			case "ask":
				if by := r.Text("by"); !strings.HasPrefix(by, "token ") || !strings.Contains(by, " of desk (key ") {
					t.Errorf("answered by %s", by)
				}
				order = append(order, r.Text("action"))
			case "flow_open":
				order = append(order, r.Text("verdict"))
			}
		}
		if want := []string{"allowed", "allow", "deny", "denied", "deny", "deny", "allowed", "allow", "allowed", "allow", "deny"}; !slices.Equal(order, want) {
			t.Errorf("recorded: %v, want %v", order, want)
		}
	})
}

// TestFloorOfSignedAnswers: no token answers for what the administrator's file denies
// or limits, and it can refuse the keys of everybody else.
func TestFloorOfSignedAnswers(t *testing.T) {
	w := world.New(t)
	ann, _, ok := twoUsers(t, w)
	if !ok {
		return
	}
	good, evil := w.HTTP("good.example.com", text("good")), w.HTTP("evil.example.com", text("stolen"))
	sup := ann.Home.Supervisor()
	floor := func(content string) {
		t.Helper()
		if err := os.WriteFile(sup.Policy, []byte("version: 1\n"+content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(sup.Policy)
	s := newSigner(t, ann, "")
	everything := s.grant(t, "--host", "*", "--max", "100")
	floor("egress: {deny: [{host: evil.example.com}]}\nlimits: {egress: [\"*.example.com\"], protocols: [http]}")
	r, codes := s.fetch(t, []string{everything}, goodURL, evilURL, "http://outside.example.org/")
	if codes != "200 403 403" || good.Hits() != 1 || evil.Hits() != 0 {
		t.Errorf("%s, %d hits\n%s", codes, good.Hits(), r)
	}
	for _, content := range []string{"limits: {modes: [enforce]}", "limits: {approvers: false}"} {
		floor(content)
		if r, _ := s.fetch(t, []string{everything}, goodURL); r.Code != 125 || !strings.Contains(r.Stderr, "limits") && !strings.Contains(r.Stderr, "further keys") {
			t.Errorf("%s\n%s", content, r)
		}
	}
	if good.Hits() != 1 || evil.Hits() != 0 {
		t.Errorf("%d and %d hits", good.Hits(), evil.Hits())
	}
}
