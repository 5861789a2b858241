package invariants

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// TestInvariant04NoLookupBeforeVerdict: the internet's DNS is never asked for a
// denied name, by the pen or by any command of Penstock's.
func TestInvariant04NoLookupBeforeVerdict(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		w := c.World
		w.HTTPS("evil.example.com", text("stolen"))
		w.HTTP("plain.example.com", text("stolen"))
		w.HTTP("part.example.com", text("part"))
		good := w.HTTP("good.example.com", text("good"))
		c.Rules = []string{
			`{host: part.example.com, paths: ["/yes/**"]}`, `{host: "*.wild.example.com", methods: [POST]}`,
			"{host: good.example.com}", `{host: "*.good.example.com"}`,
		}
		c.Denied = []string{"{host: denied.good.example.com}"}

		r := c.Tool(nil, "ask", "evil.example.com", "plain.example.com", "secret.data.evil.example.com", "good.example.com", "8.8.8.8.in-addr.arpa")
		if strings.Contains(r.Stdout, "answers 0\n") {
			t.Errorf("the pen's own resolver did not answer\n%s", r)
		}
		r = c.Tool(nil, "fetch", "https://evil.example.com/", "http://plain.example.com/", "http://part.example.com/no",
			"http://x.wild.example.com/", "http://denied.good.example.com/", "http://evil.example.com:7777/", "http://exfiltrated-by-name.example.com/")
		if strings.Count(r.Stdout, " 403 ") != 7 {
			t.Errorf("want seven refusals\n%s", r)
		}
		if r := c.Run([]string{"--mode", "audit", "--deny", "evil.example.com"}, host.ToolCommand("fetch", "https://evil.example.com/")...); !strings.Contains(r.Stdout, " 403 ") {
			t.Errorf("a denied name in audit mode\n%s", r)
		}
		file, sessions := c.PolicyFile(), c.Sessions()
		for _, args := range [][]string{
			{"policy", "explain", "--policy", file, "https://evil.example.com/"},
			{"policy", "explain", "--policy", file, "good.example.com:80"},
			{"policy", "explain", "--policy", file, "http://part.example.com/no"},
			{"policy", "check", file}, {"policy", "show", "--policy", file},
			{"audit", "ls"}, {"audit", "verify"}, {"audit", "export"}, {"audit", "export", "--format", "csv"},
			{"audit", "show"}, {"audit", "show", sessions[0]}, {"audit", "tail"}, {"ps"},
			{"run", "--policy", file, "--dry-run", "--", "curl", "https://evil.example.com/"},
			{"run", "--policy", file, "--deny", "evil.example.com", "--add-host", "other.example.com:203.0.113.7", "--", "/bin/true"},
		} {
			if r := c.Other(args...); r.Code != 0 && args[1] != "explain" {
				t.Errorf("%v\n%s", args, r)
			}
		}
		c.NothingLeft()

		// The counterpart: an allowed name is asked for, and only it.
		if r := c.Tool(nil, "fetch", "http://good.example.com/", "https://evil.example.com/"); !strings.Contains(r.Stdout, " 200 good") {
			t.Errorf("an allowed request failed\n%s", r)
		}
		for _, q := range w.Queries() {
			if q.Name != good.Name {
				t.Errorf("the internet's DNS was asked for %s", q.Name)
			}
		}
		if !w.Asked(good.Name) {
			t.Error("an allowed name was not asked for: the ledger sees nothing")
		}
	})
}
