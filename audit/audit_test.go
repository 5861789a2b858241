package audit

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

// events returns one of each, filled.
func events() []Event {
	ap := netip.MustParseAddrPort
	return []Event{
		&SessionStart{
			Argv: []string{"sh", "-c", "curl\n\x1b[31m"}, Dir: "/src", User: "anna", UID: 1000, Host: "box", Version: "0.1.0",
			Kernel: "6.18.0", Agent: "opencode", Tier: "bwrap", Mode: ModeEnforce, PolicyHash: "ab12",
			PolicyFiles:  []PolicyFile{{Path: "/src/.penstock.yaml", Layer: "project", Hash: "cd34"}, {Path: "--allow x", Layer: "command line"}},
			Capabilities: []Capability{{Control: "syscalls", State: "enforced", By: "seccomp-bpf"}, {Control: "memory", State: "partial", By: "rlimit", Detail: "d", Fix: "f"}},
			Warnings:     []string{"mode audit: nothing is refused"},
			Supervisor:   &Attested{UID: 1000, GID: 100, Cgroup: "/penstock/pens/u1000/s1", Net: 4026532001, UserNS: 4026532000, PID: 77, Start: 12345, FloorHash: "ef56"},
		},
		&Process{Action: "exec", PID: 12, PPID: 3, Exe: "/usr/bin/curl", Argv: []string{"curl", "-s"}, SaidBy: "gvisor"},
		&Process{Action: "exit", PID: 12, PPID: 3, UID: 1000, Start: 5e9, Exe: "/tmp/x", Argv: []string{"x"}, Signal: "SIGKILL", OOM: true, Connections: 3, Refusals: 1 << 40},
		&DNS{Name: "api.example.com", QType: "A", Answer: netip.MustParseAddr("198.18.0.1"), RCode: "NOERROR", Transport: "udp", Server: ap("8.8.8.8:53")},
		&DNS{Name: "bad\x00name", QType: "A", RCode: "REFUSED", Transport: "tcp", Reason: "malformed"},
		openEvent(),
		&FlowOpen{Flow: 2, Protocol: hooks.ProtocolTCP, Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 22}, Verdict: hooks.Deny, Reason: "no rule", Mode: ModeEnforce, Process: 2, PID: 4, TID: 5, Exe: "/usr/bin/ssh", SaidBy: "gvisor"},
		closeEvent(),
		&FlowClose{Flow: 2, Class: "guard", Error: "address 10.0.0.1 is private"},
		&Process{Action: "seen", Number: 2, Parent: 1, PID: 12, PPID: 3, UID: 0, Start: 5e9, Exe: "/tmp/\x1b[31mcurl", Dev: 0x10_00801, Ino: 77, SHA256: strings.Repeat("ab", 32),
			Argv: []string{"curl", "\n\u202e"}, Cgroup: "/user.slice", Shared: true},
		&Access{Path: "/home/a/.ssh/id_ed25519", Write: true, Error: "ENOENT", Process: 3, PID: 5, Exe: "/usr/bin/cat", SaidBy: "gvisor"},
		&Drop{Protocol: "udp", Destination: ap("[2001:db8::2]:443"), Count: 7, PID: 9},
		&SecretUse{Flow: 1, Name: "KEY", Host: "api.example.com", Header: "x-api-key"},
		&Violation{Kind: "secret-misuse", Detail: "placeholder of KEY", Flow: 3, Target: hooks.Target{Host: "evil.example", Port: 443}, Process: 2, PID: 1, Action: "denied"},
		&Limit{Kind: "oom-kill", Count: 2, Detail: "cgroup v2 memory.max", Action: "killed"},
		&Control{Action: "freeze", Reason: "violation: secret-misuse"},
		&Exec{Action: "start", Exec: 1, Argv: []string{"make", "test"}, Dir: "/work", By: 12},
		&Exec{Action: "end", Exec: 1, ExitCode: 2, Duration: time.Second},
		&Publish{Action: "open", Listen: ap("127.0.0.1:8080"), Port: 3000},
		&Publish{Action: "connect", Listen: ap("127.0.0.1:8080"), Port: 3000, Peer: ap("127.0.0.1:55555")},
		&Ask{Action: "allowed", Question: 1, Flow: 4, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "new.example", Port: 443}, Method: "GET", Path: "/", Approval: "{host: new.example}", Scope: "for", For: 10 * time.Minute, By: "anna (uid 1000)", Waiting: 2},
		&SessionEnd{ExitCode: 3, Signal: "TERM", Reason: "signal", Duration: time.Second, Counts: Counts{Allowed: 1, Lost: 2, Executions: 7, Exits: 6, Signals: 1}},
	}
}

func openEvent() *FlowOpen {
	return &FlowOpen{
		Flow: 1, Conn: 1, Protocol: hooks.ProtocolHTTPS, Version: "HTTP/2.0", Target: hooks.Target{Host: "api.example.com", Port: 443},
		Method: "POST", Path: "/v1/messages", Query: "beta=true&key=s3cr3t", Verdict: hooks.Allow, Rule: "/src/.penstock.yaml:12",
		Reason: "allowed by rule", Mode: ModeEnforce, Via: "corp", Original: netip.MustParseAddrPort("198.18.0.1:443"), Client: netip.MustParseAddrPort("10.0.0.2:40000"),
	}
}

func closeEvent() *FlowClose {
	return &FlowClose{Flow: 1, BytesUp: 1234, BytesDown: 56789, Duration: 1500 * time.Microsecond, Status: 200, Upstream: netip.MustParseAddrPort("203.0.113.7:443")}
}

func newWriter(t testing.TB) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.jsonl")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, path
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "audit"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// record makes a closed session with the given events.
func record(t testing.TB, s *Store, events ...Event) *Session {
	t.Helper()
	ses, w := begin(t, s)
	for _, e := range events {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	seal(t, ses, w)
	return ses
}

func begin(t testing.TB, s *Store) (*Session, *Writer) {
	t.Helper()
	ses, err := s.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(ses.File, ses.ID)
	if err != nil {
		t.Fatal(err)
	}
	return ses, w
}

func seal(t testing.TB, ses *Session, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ses.Seal(w.Head()); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, s *Store, o VerifyOptions) *Report {
	t.Helper()
	r, err := s.Verify(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSessionIsWhole(t *testing.T) {
	s := newStore(t)
	ses := record(t, s, events()...)
	r := verify(t, s, VerifyOptions{})
	if !r.OK() || !r.Whole() || len(r.Sessions) != 1 || r.Sessions[0].Records != uint64(len(events())) {
		t.Fatalf("verify: %+v", r)
	}
	head := r.Sessions[0].Head
	if r := verify(t, s, VerifyOptions{Session: ses.ID, Head: head}); !r.Whole() {
		t.Errorf("with the right head: %+v", r)
	}
	if r := verify(t, s, VerifyOptions{Session: ses.ID, Head: fmt.Sprintf("%d:%s", len(events()), strings.ToUpper(head))}); !r.Whole() {
		t.Errorf("with the right number and head: %+v", r)
	}
	for _, wrong := range []string{strings.Repeat("0", 64), "3:" + head} {
		if r := verify(t, s, VerifyOptions{Session: ses.ID, Head: wrong}); r.OK() {
			t.Errorf("head %s was accepted", wrong)
		}
	}
	for _, bad := range []string{"0", head + "0", head[1:] + "g", ":" + head, "x:" + head} {
		if _, err := s.Verify(VerifyOptions{Session: ses.ID, Head: bad}); err == nil {
			t.Errorf("%q was taken as a head", bad)
		}
	}
}
