package daemon

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/janitor"
	"github.com/penstock/penstock/supervisor/proxyrole"
)

// Users of the tests: nobody has an account with these ids, and nobody else who
// runs the same tests at the same time.
var ann, bob = 700_000_000 + 4*os.Getpid(), 700_000_001 + 4*os.Getpid()

// Where the user ids of proxies begin, 100 for each daemon. Those from hostileBase
// on do what role:proxy must not: which, is in their hundreds.
const (
	tameBase    = 2_001_000_000
	hostileBase = 2_010_000_000
	hostileEnd  = 2_110_000_000
	runBase     = 2_120_000_000
)

// TestMain lets the test binary be the roles that the daemon, a pen and the tests
// start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case proxyRole:
			if uid := os.Geteuid(); uid >= hostileBase && uid < hostileEnd {
				os.Exit(hostileProxy((uid - hostileBase) % 10_000 / 100))
			}
			os.Exit(proxyrole.Main())
		case netns.Role:
			os.Exit(netns.Main())
		case janitor.GroupsRole:
			os.Exit(janitor.GroupsMain())
		case netns.ConnectorRole:
			os.Exit(netns.ConnectorMain())
		case "role:test-state":
			os.Exit(stateMain(os.Args[2]))
		case "role:test-run":
			os.Exit(runMain(os.Args[2], os.Args[3]))
		case "role:test-caller":
			os.Exit(callerMain(os.Args[2], os.Args[3], os.Args[4:]))
		case "role:test-pen":
			os.Exit(penMain(os.Args[2]))
		case "role:test-held":
			os.Exit(heldMain(os.Args[2]))
		}
	}
	code := m.Run()
	os.Remove(filepath.Join(os.TempDir(), fmt.Sprintf("penstock-daemon-test-%d", os.Getpid())))
	os.Exit(code)
}

// root skips for an ordinary user: make test runs everything as root too, where
// what can't be done is a failure.
func root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the daemon needs root: root's run has this test")
	}
}

// plain is a program for the roles, which confine all of their threads: that a
// binary can't which is linked with C, as one with the race detector is.
func plain(t testing.TB) string {
	t.Helper()
	if !raced {
		return "/proc/self/exe"
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-daemon-test-%d", os.Getpid()))
	if _, err := os.Stat(name); err == nil {
		return name
	}
	build := exec.Command("go", "test", "-c", "-o", name, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chmod(name, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// service is a running daemon.
type service struct {
	*Daemon
	socket string
	cfg    Config
	stop   func() // ends it and waits; may be called twice
	mu     sync.Mutex
	log    bytes.Buffer
}

func (s *service) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// serve starts a daemon of this test's own; everybody may connect.
func serve(t testing.TB, change func(*Config)) *service {
	t.Helper()
	root(t)
	dir, err := os.MkdirTemp("/tmp", "penstock-daemon-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s := &service{socket: filepath.Join(dir, "s")}
	set := settings.Default()
	set.Proxies.FirstUID = tameBase + os.Getpid()%80_000*100
	set.Proxies.Most = 80
	set.Proxies.Idle = 1
	s.cfg = Config{State: filepath.Join(dir, "state"), Policy: filepath.Join(dir, "policy.yaml"), Settings: set, Version: "test", program: plain(t)}
	s.cfg.Log = func(format string, args ...any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprintf(&s.log, format+"\n", args...)
	}
	s.cfg.Groups, err = cgroup.NewTree(cgroup.TreeOptions{Name: "penstock-test-" + filepath.Base(dir)})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&s.cfg)
	}
	if s.Daemon, err = New(s.cfg); err != nil {
		t.Fatal(err)
	}
	l, err := bind(s.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the daemon does not end")
			return
		}
		if s.cfg.Groups != nil {
			if err := s.cfg.Groups.Close(); err != nil {
				t.Errorf("after its end: %v", err)
			}
		}
		first, most := s.cfg.Settings.Proxies.FirstUID, s.cfg.Settings.Proxies.Most+s.cfg.Settings.Proxies.Idle
		if left := processesOf(first, first+most); len(left) > 0 {
			t.Errorf("proxies are left: %v", left)
		}
		if left := processesOf(ann, bob+1); len(left) > 0 {
			t.Errorf("processes of pens are left: %v", left)
		}
	})
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", s.logged())
		}
	})
	return s
}

// processesOf finds processes by the range of their user ids.
func processesOf(from, to int) (out []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		text, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		f, err := parseStatus(string(text))
		if err == nil && f.uid[0] >= from && f.uid[0] < to && !strings.Contains(string(text), "State:\tZ") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			out = append(out, pid)
		}
	}
	return out
}

// caller is a process of an unprivileged user that plays a scenario.
type caller struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err bytes.Buffer
}

// call starts a scenario as a user.
func (s *service) call(t testing.TB, uid int, scenario string, args ...string) *caller {
	t.Helper()
	c := &caller{t: t}
	c.cmd = exec.Command(plain(t), append([]string{"role:test-caller", scenario, s.socket}, args...)...)
	c.cmd.Dir = "/"
	c.cmd.Env = []string{"PATH=/usr/bin:/bin"}
	c.cmd.Stderr = &c.err
	if uid != 0 {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill(); c.in.Close(); c.cmd.Wait() })
	return c
}

// line is the next line that the caller prints, "" at its end.
func (c *caller) line() string {
	s, _ := c.out.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

// expect reads one line that must begin with want, and returns the rest.
func (c *caller) expect(want string) string {
	c.t.Helper()
	got := c.line()
	rest, ok := strings.CutPrefix(got, want)
	if !ok {
		c.in.Close()
		c.cmd.Wait()
		c.t.Fatalf("caller said %q, not %q\n%s", got, want, c.err.String())
	}
	return strings.TrimSpace(rest)
}

// next lets the caller go on.
func (c *caller) next() { fmt.Fprintln(c.in) }

// end waits for the caller's end, which must be a good one.
func (c *caller) end() {
	c.t.Helper()
	c.in.Close()
	rest, _ := io.ReadAll(c.out)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("caller: %v\n%s%s", err, rest, c.err.String())
	}
}

// idle waits until the daemon has no session.
func (s *service) idle(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		s.Daemon.accounts.mu.Lock()
		n := s.Daemon.accounts.all
		s.Daemon.accounts.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions are left", n)
		}
		unix.Poll(nil, 5)
	}
}

// dial connects as this process, root.
func (s *service) dial(t testing.TB) *daemonctl.Client {
	t.Helper()
	c, err := daemonctl.Dial(context.Background(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func rawDial(socket string) (*daemonctl.Conn, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return daemonctl.NewConn(c), nil
}
