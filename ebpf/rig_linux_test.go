package ebpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/sandbox/netns"
)

// needRoot skips for an ordinary user: make test runs everything as root too,
// where what can't be done is a failure.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("takes root")
	}
}

// must fails the test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cgroup2 is where the unified hierarchy is mounted.
func cgroup2(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if strings.HasPrefix(after, "cgroup2 ") {
			return strings.Fields(before)[4]
		}
	}
	t.Fatal("no cgroup v2 hierarchy is mounted")
	return ""
}

// rig is loaded programs over control groups of their own.
type rig struct {
	t             testing.TB
	p             *Programs
	opts          Options
	pens, proxies string
}

// penOptions is what netns says of a pen.
func penOptions() Pen {
	own4, own6 := netns.OwnAddrs()
	return Pen{Own4: own4, Own6: own6, CapturePort: netns.CapturePort, ExplicitPort: netns.ExplicitPort, DNSPort: netns.DNSPort}
}

// newGroups makes the control groups and returns options for them.
func newGroups(t testing.TB) *rig {
	t.Helper()
	needRoot(t)
	must(t, EnsureBPFFS("/sys/fs/bpf"))
	name := fmt.Sprintf("penstock-test-%d", os.Getpid())
	base := filepath.Join(cgroup2(t), name)
	r := &rig{t: t, pens: filepath.Join(base, "pens"), proxies: filepath.Join(base, "proxies")}
	for _, dir := range []string{base, r.pens, r.proxies} {
		must(t, os.Mkdir(dir, 0o755))
		t.Cleanup(func() { removeGroup(t, dir) })
	}
	r.opts = Options{PinDir: filepath.Join("/sys/fs/bpf", name), PensCgroup: openDir(t, r.pens), ProxiesCgroup: openDir(t, r.proxies),
		PenLevel: 3, SlotLevel: 3, Pen: penOptions()}
	t.Cleanup(func() {
		if _, err := os.Stat(r.opts.PinDir); err == nil && !t.Failed() {
			t.Error("pins are left")
		}
		must(t, Sweep(r.opts.PinDir)) // a test that failed fails alone
	})
	return r
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := newGroups(t)
	r.load()
	return r
}

func (r *rig) load() {
	r.t.Helper()
	p, err := Load(r.opts)
	must(r.t, err)
	r.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			r.t.Error(err)
		}
	})
	r.p = p
}

func openDir(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// removeGroup kills what is in a group and removes it when it is empty.
func removeGroup(t testing.TB, dir string) {
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		t.Error(err)
		return
	}
	defer events.Close()
	for {
		var buf [256]byte
		n, err := events.ReadAt(buf[:], 0)
		if n == 0 && err != nil {
			t.Error(err)
			return
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			break
		}
		// The file wakes who polls it when it changes.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, 5000); err != nil && !errors.Is(err, unix.EINTR) {
			t.Error(err)
			return
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

// group makes a group below dir and returns it with its number.
func (r *rig) group(dir, name string) (*os.File, uint64) {
	r.t.Helper()
	path := filepath.Join(dir, name)
	must(r.t, os.Mkdir(path, 0o755))
	r.t.Cleanup(func() { removeGroup(r.t, path) })
	f := openDir(r.t, path)
	id, err := CgroupID(f)
	must(r.t, err)
	return f, id
}

// testPen is a session with a network namespace of its own.
type testPen struct {
	r        *rig
	s        *Session
	cgroup   *os.File
	id       uint64
	net      *os.File
	accepted chan net.Conn // steered connections
	watcher  *events.Watcher
	notices  chan events.Event
	ended    chan events.Ended
}

// session makes one: its group, its namespace, its listeners, steered.
func (r *rig) session(name string) *testPen {
	r.t.Helper()
	pen := &testPen{r: r, accepted: make(chan net.Conn, 1024), notices: make(chan events.Event, 4096), ended: make(chan events.Ended, 4096)}
	pen.cgroup, pen.id = r.group(r.pens, name)
	var err error
	pen.s, err = r.p.AddSession(pen.id)
	must(r.t, err)
	r.t.Cleanup(func() { pen.s.Close() })
	pen.net = newNetns(r.t)
	ring, err := pen.s.Events()
	must(r.t, err)
	pen.watcher, err = events.Open(ring, events.Options{
		CgroupID: pen.id, Cgroup: name,
		Notify: func(e events.Event, _ *hooks.Process) { pen.notices <- e },
		Ended:  func(x events.Ended) { pen.ended <- x },
	})
	must(r.t, err)
	r.t.Cleanup(func() { pen.watcher.Close() })
	l4, l6 := pen.listen("127.0.0.1", netns.CapturePort), pen.listen("::1", netns.CapturePort)
	must(r.t, pen.s.Steer(pen.net, l4, l6))
	return pen
}

// listener opens a listener in a namespace.
func listener(t testing.TB, ns *os.File, host string, port int) *net.TCPListener {
	t.Helper()
	var l *net.TCPListener
	inNetns(t, ns, func() {
		// A SOCKMAP takes plain TCP only.
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)).String())
		must(t, err)
		l = ln.(*net.TCPListener)
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// listen opens a listener in the pen and sends what it accepts to pen.accepted.
func (pen *testPen) listen(host string, port int) *os.File {
	t := pen.r.t
	t.Helper()
	l := listener(t, pen.net, host, port)
	f, err := l.File()
	must(t, err)
	t.Cleanup(func() { f.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			pen.accepted <- c
		}
	}()
	return f
}

// inNetns runs f in a network namespace, on a thread that is thrown away.
func inNetns(t testing.TB, ns *os.File, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
	}()
	must(t, <-done)
}

// newNetns makes a namespace in which every address is local, as netns does.
func newNetns(t testing.TB) *os.File {
	t.Helper()
	var ns *os.File
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- raiseLoopback()
		f, err := os.Open("/proc/thread-self/ns/net")
		ns = f
		done <- err
	}()
	for err := range done {
		must(t, err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func raiseLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	own4, own6 := netns.OwnAddrs()
	for _, own := range []netip.Addr{own4, own6} {
		one := &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(own.BitLen(), own.BitLen())}
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: one, Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
		all := &net.IPNet{IP: make(net.IP, own.BitLen()/8), Mask: net.CIDRMask(0, own.BitLen())}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Src: own.AsSlice(), Table: unix.RT_TABLE_LOCAL,
			Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Protocol: unix.RTPROT_STATIC}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("route of %s: %w", own, err)
		}
	}
	return nil
}

// tool is a process of this test binary inside the pen, which does what it is
// told line by line, see tool_linux_test.go.
type tool struct {
	t   testing.TB
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
}

// start starts the tool in a group and, if ns is not nil, in a namespace.
func start(t testing.TB, group, ns *os.File, args ...string) *tool {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	return startProgram(t, group, ns, append([]string{exe, toolRole}, args...)...)
}

func startProgram(t testing.TB, group, ns *os.File, argv ...string) *tool {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	stdin, inW, err := os.Pipe()
	must(t, err)
	outR, stdout, err := os.Pipe()
	must(t, err)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if ns != nil {
		inNetns(t, ns, func() { err = cmd.Start() })
	} else {
		err = cmd.Start()
	}
	must(t, err)
	stdin.Close()
	stdout.Close()
	p := &tool{t: t, cmd: cmd, in: inW, out: bufio.NewReader(outR)}
	t.Cleanup(func() { inW.Close(); cmd.Wait(); outR.Close() })
	return p
}

// do lets the tool do one thing and returns its answer.
func (p *tool) do(line string) string {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	must(p.t, err)
	answer, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSuffix(answer, "\n")
}
