package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/ebpf"
	"github.com/penstock/penstock/internal/version"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// elsewhere returns a machine that has only the given files, and no daemon.
func elsewhere(t *testing.T, files map[string]string) *machine {
	t.Helper()
	m := &machine{root: t.TempDir(), policy: config.SystemPolicy, uid: 1000, groups: []int{1000}}
	m.socket = filepath.Join(m.root, "supervise.sock")
	for name, text := range files {
		p := m.path(name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// daemon answers one question at the machine's socket, with nothing if d is nil.
func (m *machine) daemon(t *testing.T, d *daemonctl.Daemon) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: m.socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		uc, err := l.AcceptUnix()
		if err != nil {
			return
		}
		c := daemonctl.NewConn(uc)
		defer c.Close()
		if q, files, err := c.Recv(); err != nil || q.Op != daemonctl.OpStatus || len(files) != 0 {
			t.Errorf("asked %+v with %d descriptors: %v", q, len(files), err)
			return
		}
		if d != nil {
			if err := c.Send(&daemonctl.Message{Op: daemonctl.OpDaemon, Daemon: d}); err != nil {
				t.Error(err)
			}
		}
		c.Recv() // the end of the conversation
	}()
}

// examine runs f and returns its findings by name.
func examine(t *testing.T, f func(x *examination)) map[string]Finding {
	t.Helper()
	x := &examination{ctx: t.Context(), Options: Options{Host: &config.Host{User: "alice"}}}
	f(x)
	out := map[string]Finding{}
	for _, found := range x.findings {
		if found.State != OK && found.Fix == "" {
			t.Errorf("%s has no fix: %+v", found.Name, found)
		}
		if strings.Contains(found.Detail+found.Fix, "%!") {
			t.Errorf("%s: %+v", found.Name, found)
		}
		out[found.Name] = found
	}
	return out
}

// like says whether a finding has the state and the text, in detail or fix.
func like(t *testing.T, found map[string]Finding, name string, state State, text string) {
	t.Helper()
	f, ok := found[name]
	if !ok || f.State != state || !strings.Contains(f.Detail+" "+f.Fix, text) {
		t.Errorf("%s: %+v, want %s with %q", name, f, state, text)
	}
}

const groupFile = "root:x:0:\npenstock:x:990:bob,alice\n"

func TestNothingIsInstalled(t *testing.T) {
	m := elsewhere(t, nil)
	found := examine(t, func(x *examination) { x.service(m) })
	like(t, found, "daemon", OK, "without privilege")
	if len(found) != 1 {
		t.Errorf("%d findings where nothing is installed: %+v", len(found), found)
	}
}

func TestInstalledButNotThere(t *testing.T) {
	m := elsewhere(t, map[string]string{
		"/usr/lib/systemd/system/penstock.socket": "", "/usr/lib/systemd/system/penstock.service": "", "/etc/group": groupFile,
	})
	m.systemctl = func(_ context.Context, args ...string) string {
		return map[string]string{"is-active": "inactive", "is-enabled": "disabled", "is-failed": "inactive"}[args[0]]
	}
	found := examine(t, func(x *examination) { x.service(m) })
	like(t, found, "daemon", Warn, "systemctl enable --now penstock.socket")
	like(t, found, "units", Warn, "penstock.socket is inactive")
	like(t, found, "group penstock", Warn, "log out and in again")
	like(t, found, "bpffs", Warn, "")
}

func TestTheDaemonAnswers(t *testing.T) {
	const text = "version: 1\negress:\n  deny:\n    - host: never.example\n"
	sum := sha256.Sum256([]byte(text))
	m := elsewhere(t, map[string]string{"/etc/penstock/policy.yaml": text, "/etc/group": groupFile})
	m.groups = append(m.groups, 990)
	m.daemon(t, &daemonctl.Daemon{
		Version: version.String(), Steering: daemonctl.SteeringBPF, Sessions: 3, Floor: hex.EncodeToString(sum[:]),
		Capabilities: []sandbox.Capability{{Control: "memory", State: sandbox.Enforced, By: "cgroup v2"},
			{Control: ebpf.FeaturePens, State: sandbox.Enforced, By: "eBPF"}, {Control: ebpf.FeatureLSM, State: sandbox.Unavailable, Detail: "no such"}},
	})
	found := examine(t, func(x *examination) {
		x.service(m)
		if !x.supervised {
			t.Error("the daemon answered, and no session will be tried")
		}
	})
	like(t, found, "daemon", OK, "3 sessions")
	like(t, found, "steering", OK, "sk_lookup")
	like(t, found, "memory", OK, "cgroup v2")
	like(t, found, "eBPF", OK, "loads socket hooks of pens; can be done without: security module (no such)")
	like(t, found, "group penstock", OK, "you are in it")
	like(t, found, "floor policy", OK, hex.EncodeToString(sum[:])[:12])
	like(t, found, "units", OK, "none")
}

func TestTheDaemonIsAnother(t *testing.T) {
	m := elsewhere(t, map[string]string{"/etc/penstock/policy.yaml": "version: 1\n"})
	m.daemon(t, &daemonctl.Daemon{Version: "0.0.0-other", Steering: daemonctl.SteeringRules, Floor: strings.Repeat("0", 64)})
	found := examine(t, func(x *examination) { x.service(m) })
	like(t, found, "daemon", Warn, "is version 0.0.0-other")
	like(t, found, "steering", Warn, "eBPF")
	like(t, found, "floor policy", Warn, "has read another file")
}

func TestTheDaemonSaysNothing(t *testing.T) {
	m := elsewhere(t, nil)
	m.daemon(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	found := examine(t, func(x *examination) { x.ctx = ctx; x.service(m) })
	like(t, found, "daemon", Warn, "no answer")
}

func TestFloorPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		mode  os.FileMode
		state State
		want  string
	}{
		"invalid":              {"version: 1\negres: {}\n", 0o644, Fail, "penstock policy check"},
		"writable for others":  {"version: 1\n", 0o666, Fail, "others may write"},
		"valid without daemon": {"version: 1\n", 0o644, OK, "is valid"},
	} {
		t.Run(name, func(t *testing.T) {
			m := elsewhere(t, map[string]string{"/etc/penstock/policy.yaml": tt.text})
			if err := os.Chmod(m.path(m.policy), tt.mode); err != nil {
				t.Fatal(err)
			}
			found := examine(t, func(x *examination) { x.floor(m, nil) })
			like(t, found, "floor policy", tt.state, tt.want)
		})
	}
}

func TestMembership(t *testing.T) {
	for name, tt := range map[string]struct {
		uid    int
		groups []int
		file   string
		state  State
		want   string
	}{
		"root":             {0, []int{0}, "", OK, "root"},
		"no group":         {1000, []int{1000}, "root:x:0:\n", Warn, "groupadd"},
		"a member":         {1000, []int{1000, 990}, groupFile, OK, "you are in it"},
		"since the login":  {1000, []int{1000}, groupFile, Warn, "older than that"},
		"not a member":     {1000, []int{1000}, "penstock:x:990:bob\n", Warn, "usermod -aG penstock alice"},
		"a name like ours": {1000, []int{1000}, "penstock:x:990:alice2\n", Warn, "usermod"},
	} {
		t.Run(name, func(t *testing.T) {
			m := elsewhere(t, map[string]string{"/etc/group": tt.file})
			m.uid, m.groups = tt.uid, tt.groups
			like(t, examine(t, func(x *examination) { x.membership(m) }), "group penstock", tt.state, tt.want)
		})
	}
}

func TestUnits(t *testing.T) {
	both := map[string]string{"/lib/systemd/system/penstock.socket": "", "/lib/systemd/system/penstock.service": ""}
	for name, tt := range map[string]struct {
		files   map[string]string
		answers map[string]string // nil: systemd does not run
		state   State
		want    string
	}{
		"none, no systemd": {nil, nil, OK, "does not run"},
		"no systemd":       {both, nil, OK, "by other means"},
		"none":             {nil, map[string]string{}, Warn, "install Penstock's package"},
		"half":             {map[string]string{"/lib/systemd/system/penstock.socket": ""}, map[string]string{}, Warn, "not both"},
		"failed":           {both, map[string]string{"is-failed": "failed", "is-active": "active"}, Warn, "reset-failed"},
		"not enabled":      {both, map[string]string{"is-active": "active", "is-enabled": "disabled"}, Warn, "systemctl enable penstock.socket"},
		"all well":         {both, map[string]string{"is-active": "active", "is-enabled": "enabled"}, OK, "active and enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			m := elsewhere(t, tt.files)
			if tt.answers != nil {
				m.systemctl = func(_ context.Context, args ...string) string { return tt.answers[args[0]] }
			}
			like(t, examine(t, func(x *examination) { x.units(m) }), "units", tt.state, tt.want)
		})
	}
}
