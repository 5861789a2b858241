package none

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// flags are what it takes.
func flags(more ...string) []string {
	return append([]string{"--sandbox", "none", "--no-sandbox-i-know"}, more...)
}

// forUsers runs f for who can have a command without a sandbox.
func forUsers(t *testing.T, f func(t *testing.T, c *host.Caller)) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		if c.Opts.Supervised {
			t.Skip("refused, see TestNoneSupervised")
		}
		f(t, c)
	})
}

// TestNoneCaptured: the command has the caller's files, and its requests the verdicts
// and records that they have in every tier; nothing but what is allowed gets out. It
// is shouted, and recorded as what it is.
func TestNoneCaptured(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello\n")) })
		good := c.World.HTTPS("good.example", hello)
		c.World.HTTPS("bad.example", hello)
		c.Rules = []string{"{host: good.example}"}
		marker := c.Home.Write(t, "private", "of the home\n")
		c.Home.Own(t)
		script := "cat " + marker + "; echo changed > " + marker + "; id -u; curl -sS https://good.example/; curl -sS -o /dev/null -w '%{http_code}\\n' https://bad.example/; " +
			"curl --noproxy '*' -sS --max-time 20 http://" + net.JoinHostPort(good.Addr.String(), "80") + "/ | head -n 1; exit 5"
		r := c.Run(flags("-v"), "/bin/sh", "-c", script)
		want := "of the home\n" + strconv.Itoa(c.UID()) + "\nhello\n403\npenstock: denied: GET http://" + good.Addr.String() + ":80/\n"
		if r.Code != 5 || r.Stdout != want {
			t.Fatalf("want %q: %s", want, r)
		}
		for _, said := range []string{"NO SANDBOX (--sandbox none)\n", "\npenstock: WARNING: NO SANDBOX: session ", "WITHOUT A SANDBOX in ", "file-writes             unavailable"} {
			if !strings.Contains(r.Stderr, said) {
				t.Errorf("it does not say %q: %s", said, r)
			}
		}
		if b, err := os.ReadFile(marker); err != nil || string(b) != "changed\n" {
			t.Errorf("%q, %v", b, err)
		}
		records := c.Records("")
		start := host.Types(records, "session_start")
		if len(start) != 1 || start[0].Text("tier") != "none" {
			t.Fatalf("%v", start)
		}
		doc, _ := json.Marshal(start[0])
		var s struct {
			Warnings     []string
			Capabilities []struct{ Control, State string }
		}
		if err := json.Unmarshal(doc, &s); err != nil || len(s.Warnings) == 0 || !strings.HasPrefix(s.Warnings[0], "NO SANDBOX") {
			t.Errorf("%v %s", err, doc)
		}
		states := map[string]string{}
		for _, cap := range s.Capabilities {
			states[cap.Control] = cap.State
		}
		for control, state := range map[string]string{"network": "partial", "file-reads": "unavailable", "file-writes": "unavailable", "processes": "unavailable", "privilege": "unavailable", "syscalls": "unavailable", "devices": "unavailable", "kernel": "unavailable"} {
			if states[control] != state {
				t.Errorf("%s is recorded as %q, not %q", control, states[control], state)
			}
		}
		for name, verdict := range map[string]string{"good.example": "allow", "bad.example": "deny", good.Addr.String(): "deny"} {
			f := host.Flows(records, name)
			if len(f) == 0 {
				f = slices.DeleteFunc(host.Flows(records, ""), func(r host.Record) bool { return r.Text("address") != name })
			}
			if len(f) == 0 || f[len(f)-1].Text("verdict") != verdict {
				t.Errorf("%s: %v of %v", name, f, host.Flows(records, ""))
			} else if f[0]["process"] == nil {
				t.Errorf("%s: nobody knows whose: %v", name, f[0])
			}
		}
		if r := c.Other("audit", "verify"); r.Code != 0 {
			t.Errorf("audit verify: %s", r)
		}
	})
}

// TestNoneQuiet: that there is no sandbox is said whatever is turned off.
func TestNoneQuiet(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		r := c.Run(flags("--quiet"), "/bin/true")
		if r.Code != 0 || strings.Count(r.Stderr, "NO SANDBOX") != 3 {
			t.Errorf("%s", r)
		}
		r = c.Run(flags("--dry-run", "--json"), "/bin/true")
		var d struct {
			Tier     string
			Warnings []string
		}
		if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil || d.Tier != "none" || !strings.Contains(strings.Join(d.Warnings, "\n"), "NO SANDBOX") {
			t.Errorf("%v %s", err, r)
		}
	})
}

// TestNoneNoWayOut: what does hold without a sandbox. The command can't leave its
// network, change it, or take what the proxy listens at.
func TestNoneNoWayOut(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		o := c.World.HTTP("good.example", http.NotFoundHandler())
		r := c.Tool(flags(), "out", net.JoinHostPort(o.Addr.String(), "9"), strconv.Itoa(os.Getpid()))
		lines := world.Lines(r.Stdout)
		if r.Code != 0 || len(lines) != 7 {
			t.Fatalf("%s", r)
		}
		for _, line := range lines {
			if !strings.HasSuffix(line, "permission denied") && !strings.HasSuffix(line, "operation not permitted") {
				t.Errorf("%s", line)
			}
		}
		c.NothingLeft()
	})
}

// TestNoneNothingLeft: however a session ends, all that its command has started ends
// with it, in whatever namespaces and sessions it is.
func TestNoneNothingLeft(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		before := host.Settled(t, c.Home.Path)
		for _, tt := range []struct {
			how  string
			code int
			end  func(s *host.Session)
		}{
			{"", 0, func(*host.Session) {}},
			{"kill", 137, func(*host.Session) {}},
			{"wait", 143, func(s *host.Session) { syscall.Kill(s.PID(), syscall.SIGTERM) }},
			{"wait", 137, func(s *host.Session) { syscall.Kill(s.PID(), syscall.SIGKILL) }},
			{"wait", 125, func(s *host.Session) { syscall.Kill(s.Role(host.Proxy), syscall.SIGKILL) }},
		} {
			s := c.StartTool(flags("--quiet"), "leave", tt.how)
			s.Expect("left\n")
			tt.end(s)
			if r := s.Result(); r.Code != tt.code || strings.Contains(r.Stdout, "not left") {
				t.Errorf("%s, %d: %s", tt.how, tt.code, r)
			}
			host.Clean(t, before, c.Home.Path)
		}
	})
}

// TestNoneRefused: it takes two flags, and nothing else can choose it; what only a
// sandbox keeps is an error that names its place. Nothing is run then.
func TestNoneRefused(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		ran := filepath.Join(c.Home.Path, "ran")
		both := flags()
		for _, tt := range []struct {
			more  string
			flags []string
			want  string
		}{
			{"", []string{"--sandbox", "none"}, `--sandbox "none": runs the command as you`},
			{"", []string{"--no-sandbox-i-know"}, `--no-sandbox-i-know "true": there is a sandbox`},
			{"", []string{"--no-sandbox-i-know", "--sandbox", "bwrap"}, `--no-sandbox-i-know "true": there is a sandbox`},
			{"sandbox: {tier: none}", nil, `policy.yaml:2:17: sandbox.tier can't be "none"`},
			{"sandbox: {tiers: [none]}", nil, `policy.yaml:2:19: sandbox.tiers can't have "none"`},
			{"sandbox: {tier: none}", both, `policy.yaml:2:17: sandbox.tier can't be "none"`},
			{"sandbox: {tier: bwrap}", both, "policy.yaml:2: it asks for tier bwrap, which --sandbox none can't keep"},
			{"sandbox: {tiers: [gvisor, bwrap]}", both, "policy.yaml:2: it asks for one of its tiers"},
			{"limits: {tier: bwrap}", both, "policy.yaml:2: it asks for at least tier bwrap"},
			{"filesystem: {hide: [~/x]}", both, "policy.yaml:2: it asks for what is hidden: ~/x"},
			{"filesystem: {protect: [./y]}", both, "policy.yaml:2: it asks for what is protected: ./y"},
			{"limits: {hide: [~/z]}", both, "policy.yaml:2: it asks for what is hidden: ~/z"},
			{"limits: {write: [~/w]}", both, "policy.yaml:2: it asks for bounds of what can be written"},
			{"sandbox: {worktree: true}", both, "policy.yaml:2: it asks for a worktree"},
			{"", append(flags(), "--worktree"), "--worktree: it asks for a worktree"},
			{"", append(flags(), "--hide", "/etc/hostname"), "--hide /etc/hostname: it asks for what is hidden"},
		} {
			c.More = tt.more
			r := c.Run(append(tt.flags, "--quiet"), "/bin/touch", ran)
			if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, tt.want) || !strings.Contains(r.Stderr, "\n  hint: ") {
				t.Errorf("%s %q: %s", tt.more, tt.flags, r)
			}
		}
		c.More = ""
		c.Rules = []string{"{host: good.example, process: {exe: /bin/sh}}"}
		if r := c.Run(both, "/bin/touch", ran); r.Code != 125 || !strings.Contains(r.Stderr, "it asks for rules by process") {
			t.Errorf("%s", r)
		}
		c.Rules = nil
		if _, err := os.Lstat(ran); err == nil {
			t.Fatal("it was run")
		}
		// The control.
		if r := c.Run(both, "/bin/touch", ran); r.Code != 0 {
			t.Errorf("%s", r)
		}
		if _, err := os.Lstat(ran); err != nil {
			t.Error(err)
		}
	})
}

// TestNoneSupervised: where there is a privileged supervisor it is not gone round
// without being told to, and it has no session of this kind.
func TestNoneSupervised(t *testing.T) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return // without root there is none
	}
	c := host.NewCaller(t, world.New(t), o)
	ran := filepath.Join(c.Home.Path, "ran")
	refused := func(r world.Result) {
		t.Helper()
		if _, err := os.Lstat(ran); r.Code != 125 || !strings.Contains(r.Stderr, "runs nothing without a sandbox\n  hint: ") || err == nil {
			t.Errorf("%v %s", err, r)
		}
	}
	refused(c.Run(flags(), "/bin/touch", ran))
	socket := []string{"--socket", c.Home.Supervisor().Socket}
	c.Opts.Supervised = false
	refused(c.Run(flags(socket...), "/bin/touch", ran))
	if r := c.Run(flags(append(socket, "--rootless")...), "/bin/touch", ran); r.Code != 0 { // the control
		t.Errorf("%s", r)
	}
}

// TestNoneLimits: a limit that nothing holds without a sandbox is an error; one of
// time holds.
func TestNoneLimits(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		c.More = "sandbox: {timeout: 1s}"
		if r := c.Tool(flags("--quiet"), "leave", "wait"); r.Code != 143 && r.Code != 137 || !strings.Contains(r.Stderr, "time limit of 1s") {
			t.Errorf("%s", r)
		}
		c.More = "sandbox: {memory: 512MiB}"
		r := c.Run(flags("--quiet"), "/bin/true")
		if refused := strings.Contains(r.Stderr, "policy.yaml:2: the limit of memory can't be enforced here: without a sandbox a control group has to hold it"); !refused && r.Code != 0 ||
			refused && r.Code != 125 || !refused && !strings.Contains(r.Stderr, "the limit of memory is only partly enforced") {
			t.Errorf("%s", r)
		}
	})
}
