package invariants

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/supervisor/config"
)

// TestInvariant11Layers: what a higher layer denies or limits can't be undone
// below it, a project's file counts only once it is trusted, and no file that a
// pen could write is read as policy while it runs.
func TestInvariant11Layers(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		c.NoPolicy = true
		if s := c.Home.Supervisor(); s != nil {
			// On a real machine the file is one: the supervisor holds everybody to it,
			// and the caller's own penstock reads it to explain.
			s.Policy = config.SystemPolicy
		}
		c.World.HTTP("good.example.com", text("good"))
		evil := c.World.HTTP("evil.example.com", text("stolen"))
		t.Run("denies", func(t *testing.T) { denies(t, c) })
		t.Run("limits", func(t *testing.T) { limits(t, c) })
		t.Run("project", func(t *testing.T) { project(t, c) })
		t.Run("during a run", func(t *testing.T) { duringRun(t, c) })
		if evil.Hits() != 1 { // by the project's own trusted file, see there
			t.Errorf("%d requests to the denied origin arrived", evil.Hits())
		}
	})
}

// layers are the files of the layers above the command line, by their place.
func layers(c *host.Caller) []string {
	return []string{config.SystemPolicy, filepath.Join(c.Home.Path, ".config/penstock/policy.yaml"), filepath.Join(c.Home.Project, ".penstock.yaml")}
}

// put writes a policy file and returns what removes it.
func put(t *testing.T, c *host.Caller, name, content string) func() {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("version: 1\n"+content+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Home.Own(t)
	gone := func() { os.Remove(name) }
	t.Cleanup(gone)
	return gone
}

const (
	goodURL = "http://good.example.com/"
	evilURL = "http://evil.example.com/"
)

// status runs one fetch and returns the answer's status, or "125".
func status(t *testing.T, c *host.Caller, url string, flags ...string) string {
	t.Helper()
	r := c.Tool(append(flags, "--ca", c.World.CA()), "fetch", url)
	if r.Code == 125 {
		return "125"
	}
	f := strings.Fields(strings.TrimPrefix(lineOf(r.Stdout, url), url))
	if r.Code != 0 || len(f) == 0 {
		t.Fatalf("no answer\n%s", r)
	}
	return f[0]
}

// denies: whichever layer says it, a deny wins over every other's allow.
func denies(t *testing.T, c *host.Caller) {
	for _, high := range layers(c) {
		for _, low := range layers(c) {
			content := "egress: {deny: [{host: evil.example.com}]}"
			allow := `egress: {allow: [{host: "*.example.com"}]}`
			if low == high {
				content, allow = `egress: {allow: [{host: "*.example.com"}], deny: [{host: evil.example.com}]}`, ""
			}
			gone := put(t, c, high, content)
			goneLow := func() {}
			if allow != "" {
				goneLow = put(t, c, low, allow)
			}
			for _, flags := range [][]string{{"--allow", "evil.example.com"}, {"--mode", "audit"}, {}} {
				flags = append(flags, "--trust-project")
				if got := status(t, c, evilURL, flags...); got != "403" {
					t.Errorf("%s denies, %s allows, %v: %s", high, low, flags, got)
				}
			}
			if got := status(t, c, goodURL, "--trust-project"); got != "200" {
				t.Errorf("%s denies another, %s allows: %s", high, low, got)
			}
			gone()
			goneLow()
		}
	}
}

// limits: a rule below that is outside of them is an error that names both.
func limits(t *testing.T, c *host.Caller) {
	for i, high := range layers(c)[:2] {
		for what, set := range map[string]struct{ limit, low string }{
			"hosts":  {`limits: {egress: ["good.example.com"]}`, "egress: {allow: [{host: evil.example.com}]}"},
			"mode":   {"limits: {modes: [enforce]}", "egress: {default: allow}"},
			"tier":   {"limits: {tier: gvisor}", "sandbox: {tier: bwrap}"},
			"roots":  {"limits: {ca: false}", "egress: {ca: [" + host.Quote(c.World.CA()) + "]}"},
			"memory": {"limits: {memory: 1GiB}", "sandbox: {memory: 2GiB}"},
		} {
			gone := put(t, c, high, set.limit)
			for _, low := range layers(c)[i+1:] {
				goneLow := put(t, c, low, set.low)
				r := c.Run([]string{"--trust-project"}, "/bin/echo", "it ran")
				if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, low) || !strings.Contains(r.Stderr, high) {
					t.Errorf("%s: %s limits, %s goes beyond: want exit 125 and both names\n%s", what, high, low, r)
				}
				goneLow()
			}
			gone()
		}
		gone := put(t, c, high, `limits: {egress: ["good.example.com"], modes: [enforce]}`)
		for _, flags := range [][]string{{"--allow", "evil.example.com"}, {"--mode", "audit"}} {
			if got := status(t, c, evilURL, flags...); got != "125" {
				t.Errorf("%s limits, %v goes beyond: %s", high, flags, got)
			}
		}
		gone()
	}
}

// project: the file in the project is hostile until its very bytes are trusted.
func project(t *testing.T, c *host.Caller) {
	file := layers(c)[2]
	put(t, c, file, "egress: {allow: [{host: evil.example.com}]}")
	if got := status(t, c, evilURL); got != "403" {
		t.Errorf("an untrusted project's rule counted: %s", got)
	}
	trust := func() {
		cmd := c.Command(host.Penstock, "policy", "trust", "--yes")
		if r := c.StartCommand(cmd).Result(); r.Code != 0 {
			t.Fatal(r)
		}
	}
	trust()
	if got := status(t, c, evilURL); got != "200" {
		t.Errorf("a trusted project's rule did not count: %s", got)
	}
	put(t, c, file, "egress: {allow: [{host: evil.example.com}]} # changed")
	if got := status(t, c, evilURL); got != "403" {
		t.Errorf("a changed project's rule counted: %s", got)
	}
	os.Remove(file)
}

// duringRun: a pen can't change a policy file; what somebody changes outside
// while it runs isn't read.
func duringRun(t *testing.T, c *host.Caller) {
	named := filepath.Join(c.Home.Project, "named.yaml")
	put(t, c, named, "egress: {allow: [{host: good.example.com}]}")
	list := append(layers(c), named)
	for _, name := range list[:3] {
		put(t, c, name, "egress: {deny: [{host: nobody.example.com}]}")
	}
	before := map[string]string{}
	for _, name := range list {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = string(b)
	}
	flags := []string{"--policy", named, "--trust-project", "--ca", c.World.CA()}
	r := c.Tool(flags, "write", append(list, filepath.Join(c.Home.Project, "own.yaml"))...)
	for _, name := range list[2:] {
		if strings.Contains(r.Stdout, "CHANGED "+name+" ") {
			t.Errorf("the pen could change %s\n%s", name, r)
		}
	}
	if !strings.Contains(r.Stdout, "CHANGED "+filepath.Join(c.Home.Project, "own.yaml")) {
		t.Errorf("the pen could write nothing at all\n%s", r)
	}
	for _, name := range list {
		if b, err := os.ReadFile(name); err != nil || string(b) != before[name] {
			t.Errorf("%s is now %q, %v", name, b, err)
		}
	}
	s := c.StartTool(flags, "hold")
	s.Expect("holding")
	for _, name := range list {
		put(t, c, name, `egress: {allow: [{host: "*"}]}`)
	}
	fmt.Fprintln(s.Input(), "fetch", evilURL, goodURL)
	s.Expect("fetched all")
	out := s.Out.String()
	if !strings.Contains(lineOf(out, evilURL), " 403 ") || !strings.Contains(lineOf(out, goodURL), " 200 ") {
		t.Errorf("a file that was changed during the run was read\n%s", out)
	}
	s.Wait()
	for _, name := range list {
		os.Remove(name)
	}
}
