package invariants

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestInvariant08NoSilentWeakening: what was asked for and is not to be had is
// an error, and what loosens the pen is said and recorded.
func TestInvariant08NoSilentWeakening(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		t.Run("unavailable", func(t *testing.T) { unavailable(t, c) })
		t.Run("warnings", func(t *testing.T) { warnings(t, c) })
	})
}

const capturing = "egress: {allow: [{host: good.example.com, capture: {request: 1KiB}}]}"

func unavailable(t *testing.T, old *host.Caller) {
	c := host.NewCaller(t, old.World, old.Opts)
	for what, set := range map[string]struct {
		flags []string
		more  string
	}{
		"tier by flag":      {flags: []string{"--sandbox", "gvisor"}},
		"tier by policy":    {more: "sandbox: {tier: firecracker}"},
		"least tier":        {more: "limits: {tier: gvisor}"},
		"unknown mode":      {flags: []string{"--mode", "lenient"}},
		"missing roots":     {flags: []string{"--ca", "/nonexistent.pem"}},
		"missing policy":    {flags: []string{"--policy", "/nonexistent.yaml"}},
		"unwritable record": {flags: []string{"--audit-dir", "/proc/nonexistent"}},
		"missing secret":    {more: `secrets: [{name: K, from: "file:/nonexistent", hosts: [a.example], header: x}]`},
	} {
		c.More = set.more
		r := c.Run(set.flags, "/bin/echo", "it ran")
		if r.Code != 125 || r.Stdout != "" || r.Stderr == "" {
			t.Errorf("%s: want exit 125 and a reason\n%s", what, r)
		}
	}
	c.More = ""
	// The supervisor's audit is no place for bodies: asking for them there is an error.
	if old.Opts.Supervised {
		r := c.Run([]string{"--policy", c.Home.Write(t, "more.yaml", "version: 1\n"+capturing+"\n")}, "/bin/echo", "it ran")
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "more.yaml:2: capture: ") || !strings.Contains(r.Stderr, "--rootless") {
			t.Errorf("capture: want exit 125 and a reason\n%s", r)
		}
	}
	// Nor without a record, whoever writes it.
	c = host.NewCaller(t, old.World, old.Opts)
	disk := old.World.NewAuditDisk(c.Home, "1m")
	if r := c.Run(disk.Flags, "/bin/echo", "it ran"); r.Code != 0 {
		t.Errorf("with a disk for the audit\n%s", r)
	}
	disk.Fill()
	if r := c.Run(disk.Flags, "/bin/echo", "it ran"); r.Code != 125 || r.Stdout != "" || r.Stderr == "" {
		t.Errorf("with a full disk: want exit 125 and a reason\n%s", r)
	}
	c = host.NewCaller(t, old.World, old.Opts)
	// Without its sandbox there is no session, whatever else there is.
	bwrap := world.Tool(t, "bwrap")
	if err := unix.Mount("/dev/null", bwrap, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	r := c.Run(nil, "/bin/echo", "it ran")
	if err := unix.Unmount(bwrap, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "bwrap") {
		t.Errorf("without bwrap: want exit 125 and its name\n%s", r)
	}
	if r := c.Run(nil, "/bin/echo", "it ran"); r.Code != 0 || r.Stdout != "it ran\n" {
		t.Errorf("with bwrap again\n%s", r)
	}
}

func warnings(t *testing.T, old *host.Caller) {
	if err := os.MkdirAll(old.Home.Path+"/shared", 0o777); err != nil {
		t.Fatal(err)
	}
	old.Home.Own(t)
	for what, set := range map[string]struct {
		flags []string
		more  string
		word  string // "" expects no warning
	}{
		"nothing":                {},
		"loopback port":          {flags: []string{"--publish", "0:3000"}},
		"harmless variable":      {flags: []string{"--env", "EDITION"}},
		"audit mode":             {flags: []string{"--mode", "audit"}, word: "audit"},
		"default allow":          {more: "egress: {default: allow}", word: "allow"},
		"port for other hosts":   {flags: []string{"--publish", "0.0.0.0:0:3000"}, word: "0.0.0.0"},
		"port by IPv6":           {flags: []string{"--publish", "[::]:0:3000"}, word: "[::]"},
		"credential by flag":     {flags: []string{"--env", "GITHUB_TOKEN"}, word: "GITHUB_TOKEN"},
		"credential by policy":   {more: "environment: {pass: [GITHUB_TOKEN]}", word: "GITHUB_TOKEN"},
		"credentials by pattern": {more: `environment: {pass: ["GITHUB_*"]}`, word: "GITHUB_TOKEN"},
		"everything":             {more: `environment: {pass: ["*"]}`, word: "environment"},
		"captured bodies":        {more: capturing, word: "more.yaml:2: capture: "},
	} {
		if old.Opts.Supervised && set.more == capturing {
			continue // see unavailable
		}
		c := host.NewCaller(t, old.World, old.Opts)
		c.Opts.Env = []string{"GITHUB_TOKEN=ghp_x", "EDITION=2"}
		flags := set.flags
		if set.more != "" {
			flags = append(flags, "--policy", c.Home.Write(t, "more.yaml", "version: 1\n"+set.more+"\n"))
		}
		c.NoPolicy = true
		r := c.Run(append(flags, "-q"), "/bin/true") // -q leaves no warning out
		if r.Code != 0 {
			t.Errorf("%s\n%s", what, r)
			continue
		}
		var said []string
		for _, l := range world.Lines(r.Stderr) {
			if w, ok := strings.CutPrefix(l, "penstock: WARNING: "); ok {
				said = append(said, w)
			}
		}
		var recorded []string
		for _, s := range host.Types(c.Records(""), "session_start") {
			list, _ := s["warnings"].([]any)
			for _, w := range list {
				recorded = append(recorded, w.(string))
			}
		}
		if strings.Join(said, "\n") != strings.Join(recorded, "\n") {
			t.Errorf("%s: said %q, recorded %q", what, said, recorded)
		}
		if set.word == "" && len(said) != 0 {
			t.Errorf("%s: warned of %q", what, said)
		}
		if !strings.Contains(strings.Join(said, "\n"), set.word) {
			t.Errorf("%s: no warning that names %q: %q", what, set.word, said)
		}
	}
}
