package ebpf

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/hooks"
)

const daemonRole = "role:test-daemon"

// daemonMain loads the programs as a daemon does: daemonMain drop|hold PINDIR
// PENS PROXIES, with the network namespace and a listener in it as descriptors 3
// and 4.
func daemonMain(args []string) int {
	if err := daemonRun(args); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func daemonRun(args []string) error {
	if args[0] == "read" {
		return readAsNobody()
	}
	pens, err := os.Open(args[2])
	if err != nil {
		return err
	}
	proxies, err := os.Open(args[3])
	if err != nil {
		return err
	}
	p, err := Load(Options{PinDir: args[1], PensCgroup: pens, ProxiesCgroup: proxies, PenLevel: 3, SlotLevel: 3, Pen: penOptions()})
	if err != nil {
		return err
	}
	if args[0] == "hold" {
		group, err := os.Open(filepath.Join(args[2], "s1"))
		if err != nil {
			return err
		}
		id, err := CgroupID(group)
		if err != nil {
			return err
		}
		s, err := p.AddSession(id)
		if err != nil {
			return err
		}
		if err := s.Deny([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}); err != nil {
			return err
		}
		fmt.Println("loaded")
		_, err = os.Stdin.Read(make([]byte, 1)) // until killed
		return err
	}
	if err := dropTo(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_KILL, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_PTRACE); err != nil {
		return err
	}
	if err := unix.Mount("none", "/mnt", "tmpfs", 0, ""); err == nil {
		return fmt.Errorf("CAP_SYS_ADMIN is still there")
	}
	// Each held to the end: a file that nobody has any more closes its descriptor.
	ns, listener := os.NewFile(3, "netns"), os.NewFile(4, "listener")
	defer ns.Close()
	defer listener.Close()
	// More than one: the second is not one that was loaded ahead.
	for id := range uint64(3) {
		runtime.GC()
		s, err := p.AddSession(1<<40 + id)
		if err != nil {
			return err
		}
		f, err := s.Events()
		if err != nil {
			return err
		}
		f.Close()
		if err := s.Steer(ns, listener, nil); err != nil {
			return err
		}
		if err := s.Deny([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}); err != nil {
			return err
		}
		if _, err := s.Counters(); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		slot, err := p.AddSlot(1<<40+id, []Allowed{{netip.MustParsePrefix("127.0.0.53/32"), 53}})
		if err != nil {
			return err
		}
		if _, err := slot.Denied(); err != nil {
			return err
		}
		if err := slot.Close(); err != nil {
			return err
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// readAsNobody is what a proxy does: it follows the ring that is descriptor 3.
func readAsNobody() error {
	seen := make(chan events.Event, 1)
	w, err := events.Open(os.NewFile(3, "ring"), events.Options{Notify: func(e events.Event, _ *hooks.Process) { seen <- e }})
	if err != nil {
		return err
	}
	fmt.Println("reading")
	for e := range seen {
		if e.Kind == events.Deny {
			fmt.Println(e.Why == events.DeniedSocket, e.Type, e.Protocol, e.ID.PID)
			break
		}
	}
	return w.Close()
}

// dropTo leaves every thread these capabilities and no others.
func dropTo(caps ...int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range caps {
		data[c/32].Permitted |= 1 << (c % 32)
		data[c/32].Effective |= 1 << (c % 32)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return errno
	}
	return nil
}

func (r *rig) daemon(how string, files ...*os.File) (*exec.Cmd, *bufio.Reader) {
	r.t.Helper()
	exe, err := os.Executable()
	must(r.t, err)
	cmd := exec.Command(exe, daemonRole, how, r.opts.PinDir, r.pens, r.proxies)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	out, err := cmd.StdoutPipe()
	must(r.t, err)
	in, err := cmd.StdinPipe()
	must(r.t, err)
	must(r.t, cmd.Start())
	r.t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

// TestCapabilities: a session needs none of the administrator's capability.
func TestCapabilities(t *testing.T) {
	r := newGroups(t)
	ns := newNetns(t)
	f, err := listener(t, ns, "127.0.0.1", 1).File()
	must(t, err)
	defer f.Close()
	_, out := r.daemon("drop", ns, f)
	if line, err := out.ReadString('\n'); line != "done\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := os.Stat(r.opts.PinDir); err == nil {
		t.Error("pins are left")
	}
}

// TestReader: to follow a session takes the descriptor and no right at all.
func TestReader(t *testing.T) {
	r := newRig(t)
	group, id := r.group(r.pens, "s1")
	s, err := r.p.AddSession(id)
	must(t, err)
	ring, err := s.Events()
	must(t, err)
	defer ring.Close()
	// Where another user finds it too.
	exe, err := os.Executable()
	must(t, err)
	content, err := os.ReadFile(exe)
	must(t, err)
	dir, err := os.MkdirTemp("/var/tmp", "penstock-test-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	copied := filepath.Join(dir, "reader")
	must(t, os.WriteFile(copied, content, 0o755))
	cmd := exec.Command(copied, daemonRole, "read")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{ring}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait() //nolint:errcheck // its answer is what counts
	out := bufio.NewReader(pipe)
	if line, _ := out.ReadString('\n'); line != "reading\n" {
		t.Fatal(line)
	}
	tool := start(t, group, nil)
	if got := tool.do("socket inet raw 1"); got != "EPERM" {
		t.Fatal(got)
	}
	line, _ := out.ReadString('\n')
	if want := fmt.Sprintln(true, unix.SOCK_RAW, 1, tool.cmd.Process.Pid); line != want {
		t.Errorf("%q, want %q", line, want)
	}
}

// TestNothingLeft: what is closed leaves no descriptor.
func TestNothingLeft(t *testing.T) {
	r := newGroups(t)
	_, id := r.group(r.pens, "s1")
	ns := newNetns(t)
	f, err := listener(t, ns, "127.0.0.1", 1).File()
	must(t, err)
	defer f.Close()
	round := func() int {
		p, err := Load(r.opts)
		must(t, err)
		s, err := p.AddSession(id)
		must(t, err)
		must(t, s.Steer(ns, f, nil))
		if err := s.Steer(ns, f, nil); err == nil {
			t.Error("steered twice")
		}
		if _, err := p.AddSession(id); err == nil {
			t.Error("added twice")
		}
		_, err = p.AddSlot(id, []Allowed{{netip.MustParsePrefix("10.0.0.0/8"), 0}})
		must(t, err)
		if _, err := p.AddSlot(id+1, []Allowed{{}}); err == nil {
			t.Error("no prefix was allowed")
		}
		must(t, p.Close())
		must(t, p.Close())
		must(t, s.Close())
		if _, err := p.AddSession(id); err == nil {
			t.Error("added to closed programs")
		}
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(fds)
	}
	round() // the loader keeps some for ever
	if a, b := round(), round(); a != b {
		t.Errorf("%d descriptors, then %d", a, b)
	}
	// Groups that are none: nothing is left of the attempt.
	bad := r.opts
	bad.ProxiesCgroup = f
	if _, err := Load(bad); err == nil || !strings.Contains(err.Error(), "guard_connect4") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(bad.PinDir); err == nil {
		t.Error("pins are left")
	}
}

// TestKilled: a daemon's death detaches nothing; the next one sweeps, and
// nothing but what was ours.
func TestKilled(t *testing.T) {
	r := newGroups(t)
	group, _ := r.group(r.pens, "s1")
	cmd, out := r.daemon("hold")
	if line, err := out.ReadString('\n'); line != "loaded\n" {
		t.Fatalf("%q %v", line, err)
	}
	tool := start(t, group, newNetns(t))
	refused := func() string {
		tool.do("open s inet stream 0")
		defer tool.do("close s")
		return tool.do("use s connect 203.0.113.1:80")
	}
	if got := refused(); got != "EACCES" {
		t.Errorf("with the daemon: %s", got)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait() //nolint:errcheck // killed
	if got := refused(); got != "EACCES" {
		t.Errorf("without the daemon: %s", got)
	}
	if _, err := Load(r.opts); err == nil {
		t.Error("loaded over the pins of another")
	}
	foreign := filepath.Join(r.opts.PinDir, "foreign")
	must(t, os.Mkdir(foreign, 0o700))
	if err := Sweep(r.opts.PinDir); err == nil || !strings.Contains(err.Error(), "foreign is not ours") {
		t.Errorf("swept, with %v", err)
	}
	must(t, os.Remove(foreign))
	must(t, Sweep(r.opts.PinDir))
	must(t, Sweep(r.opts.PinDir))
	if got := refused(); got != "ECONNREFUSED" {
		t.Errorf("after the sweep: %s", got) // nobody listens in that namespace
	}
	r.load()
}

// TestDetach: without the programs there is no steering, and nothing else
// either.
func TestDetach(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	tool := start(t, pen.cgroup, pen.net)
	tool.do("open s inet stream 0")
	if got := tool.do("use s connect 1.2.3.4:80"); got != "ok" {
		t.Fatal(got)
	}
	must(t, r.p.Detach())
	tool.do("open s inet stream 0")
	if got := tool.do("use s connect 1.2.3.4:80"); got != "ECONNREFUSED" {
		t.Error(got)
	}
	if _, err := os.ReadDir(r.opts.PinDir); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	needRoot(t)
	for _, f := range Probe() {
		t.Logf("%-32s %d %s", f.Name, f.State, f.Reason)
		switch f.Name {
		case FeaturePens, FeatureProcess, FeatureGuard, FeatureSteering:
			if f.State != Available {
				t.Errorf("%s: %s", f.Name, f.Reason)
			}
		}
		if f.State != Available && f.Reason == "" {
			t.Errorf("%s: no reason", f.Name)
		}
	}
}

// TestProbeAsNobody: who may not try does not say that it doesn't work.
func TestProbeAsNobody(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("for an ordinary user")
	}
	for _, f := range Probe() {
		if f.State != Unknown || !strings.Contains(f.Reason, "CAP_BPF") {
			t.Errorf("%s: %d %s", f.Name, f.State, f.Reason)
		}
	}
}
