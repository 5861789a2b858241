package main

import (
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

func TestMain(m *testing.M) {
	testscript.Main(m, penPrograms())
}

// TestScript runs the command line as a user would: testdata/*.txtar.
func TestScript(t *testing.T) {
	real := realBinary(t)
	// Who ran the tests by nohup, or behind a script, has not run the scripts'
	// programs so.
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Condition: penConditions,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_STATE_HOME", "")
			e.Setenv("PATH", real+":"+e.Getenv("PATH"))
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: penCommands(map[string]func(*testscript.TestScript, bool, []string){"record": record}),
	})
}

// record DIR closed|killed|hooked writes a session into a store and puts its id into
// $SESSION and its head hash into $HEAD. hooked is closed, and hooks have done something.
func record(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: record DIR closed|killed|hooked")
	}
	store, err := audit.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ids, err := store.Sessions()
	ts.Check(err)
	ses, err := store.Create(time.Now().Add(time.Duration(len(ids)) * time.Second))
	ts.Check(err)
	w, err := audit.NewWriter(ses.File, ses.ID)
	ts.Check(err)
	ap := netip.MustParseAddrPort
	for _, e := range []audit.Event{
		&audit.SessionStart{Argv: []string{"sh", "-c", "\x1b[2Jcurl"}, Dir: "/work", User: "anna", Host: "box", Version: "0.1.0", Tier: "bwrap", Mode: audit.ModeEnforce, PolicyHash: "ab12"},
		&audit.DNS{Name: "api.example.com", QType: "A", RCode: "NOERROR", Answer: netip.MustParseAddr("198.18.0.1"), Transport: "udp"},
		&audit.FlowOpen{Flow: 1, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "api.example.com", Port: 443}, Method: "GET", Path: "/v1", Query: "key=s3cr3t", Verdict: hooks.Allow, Rule: "policy.yaml:3", Mode: audit.ModeEnforce},
		&audit.FlowClose{Flow: 1, BytesUp: 120, BytesDown: 4500, Duration: 12 * time.Millisecond, Status: 200, Upstream: ap("203.0.113.7:443")},
		&audit.Process{Action: "seen", Number: 1, PID: 41, UID: 1000, Exe: "/usr/bin/dash", Argv: []string{"sh", "-c", "\x1b[2Jcurl"}},
		&audit.Process{Action: "seen", Number: 2, Parent: 1, PID: 42, PPID: 41, UID: 1000, Exe: "/tmp/\u202ecurl", Dev: 0x801, Ino: 77, SHA256: strings.Repeat("ab", 32),
			Argv: []string{"=cmd", "it's", "\x1b]0;x\x07", "a b"}, Shared: true},
		&audit.FlowOpen{Process: 2, PID: 42, Exe: "/tmp/\u202ecurl", Flow: 2, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "evil.example", Port: 443}, Method: "POST", Path: "/\u202e=cmd|' /C calc'!A0", Verdict: hooks.Deny, Reason: "=no rule allows it", Mode: audit.ModeEnforce},
		&audit.FlowClose{Flow: 2, Status: 403, Class: "denied"},
		&audit.FlowOpen{Flow: 3, Protocol: hooks.ProtocolTCP, Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 22}, Verdict: hooks.Deny, Reason: "no rule allows it", Mode: audit.ModeEnforce},
		&audit.Drop{Protocol: "udp", Destination: ap("8.8.8.8:443"), Count: 3},
		&audit.Violation{Kind: "secret-misuse", Detail: "placeholder of KEY", Flow: 2, Target: hooks.Target{Host: "evil.example", Port: 443}, Process: 2, PID: 42, Action: "denied"},
	} {
		ts.Check(w.Append(e))
	}
	if args[1] == "hooked" {
		for _, e := range hooked() {
			ts.Check(w.Append(e))
		}
	}
	if args[1] != "killed" {
		ts.Check(w.Append(&audit.SessionEnd{ExitCode: 3, Reason: "exit", Duration: time.Second, Counts: w.Counts()}))
	}
	ts.Check(w.Close())
	seq, head := w.Head()
	if args[1] != "killed" {
		ts.Check(ses.Seal(seq, head))
	}
	ts.Setenv("SESSION", ses.ID)
	ts.Setenv("HEAD", hexOf(head))
}

// hooked are flows that hooks have changed, routed and answered, and one that was
// denied by one.
func hooked() []audit.Event {
	to := func(host string) hooks.Target { return hooks.Target{Host: host, Port: 443} }
	next := hooks.Next.String()
	route := hooks.Trace{Hook: "mirror", Decision: hooks.Route.String(), Reason: "corp: =cmd"}
	return []audit.Event{
		&audit.FlowOpen{Flow: 4, Protocol: hooks.ProtocolHTTPS, Target: to("api.example.com"), Method: "POST", Path: "/v2", Verdict: hooks.Allow, Rule: "policy.yaml:3", Mode: audit.ModeEnforce,
			Via: "corp", Routed: "mirror", Hooks: []hooks.Trace{
				{Hook: "tools", Decision: next, Fields: &hooks.Fields{Set: []string{"X-Tool"}, Removed: []string{"User-Agent"}}}, route,
				{Hook: "tools", Decision: next}, route,
				{Hook: "redact", Point: hooks.PointRequestBody, Decision: next, Body: &hooks.Rewritten{Before: 12, After: 10, SHA256: strings.Repeat("cd", 32)}},
			}},
		&audit.FlowClose{Flow: 4, Status: 200, Hooks: []hooks.Trace{
			{Hook: "mark", Point: hooks.PointResponseBody, Decision: next, Body: &hooks.Rewritten{Before: 5, After: 500, SHA256: strings.Repeat("ef", 32)}},
		}},
		&audit.FlowOpen{Flow: 5, Protocol: hooks.ProtocolHTTPS, Target: to("api.example.com"), Method: "DELETE", Path: "/v2", Verdict: hooks.Deny, Rule: "policy.yaml:9", Reason: "denied by hook soc: no", Mode: audit.ModeEnforce,
			Hooks: []hooks.Trace{{Hook: "soc", Decision: hooks.Deny.String(), Reason: "no"}}},
		&audit.FlowClose{Flow: 5, Status: 403, Class: "hook"},
	}
}

func hexOf(h [32]byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, b := range h {
		s = append(s, digits[b>>4], digits[b&15])
	}
	return string(s)
}
