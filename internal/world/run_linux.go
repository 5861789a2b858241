package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a run. The zero value runs as the test's own user.
type Options struct {
	// User runs the command as an ordinary user (UserID) when the tests run as
	// root; without root every run is an ordinary user's.
	User bool
	// Other makes it another ordinary user, OtherUserID.
	Other bool
	// Supervised lets penstock run under a privileged supervisor, which each home
	// has for itself. It needs root.
	Supervised bool
	// Env is added to a small clean environment (HOME, PATH, LANG, TERM).
	Env []string
	// Dir is the working directory; by default a fresh one under HOME.
	Dir     string
	Stdin   io.Reader
	Timeout time.Duration // default 2 min
	// Stdout also gets what the command writes, as it does.
	Stdout io.Writer
}

// Result of a run.
type Result struct {
	Stdout, Stderr string
	Code           int // 128+n for a signal, -1 for a timeout
	Home, Dir      string
	Took           time.Duration
}

// String returns the result for a failed test.
func (r Result) String() string {
	return fmt.Sprintf("exit %d after %s\n--- stdout\n%s\n--- stderr\n%s", r.Code, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Place for a run: a home directory and a project in it, owned by who runs.
type Home struct {
	Path    string // HOME
	Project string // HOME/project
	uid     int

	supervisor *Supervisor // see Options.Supervised
}

// NewHome makes a home directory for the user that runs with o.
func (w *World) NewHome(o Options) *Home {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.n.dir, "home-")
	if err != nil {
		w.t.Fatal(err)
	}
	h := &Home{Path: dir, Project: filepath.Join(dir, "project"), uid: os.Getuid()}
	if o.User && os.Getuid() == 0 {
		h.uid = UserID
		if o.Other {
			h.uid = OtherUserID
		}
	}
	if err := os.Mkdir(h.Project, 0o755); err != nil {
		w.t.Fatal(err)
	}
	h.Own(w.t)
	w.t.Cleanup(func() {
		// A module cache is read-only.
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(p, 0o700)
			}
			return nil
		})
		os.RemoveAll(dir)
	})
	if o.Supervised {
		h.supervisor = w.NewSupervisor()
	}
	return h
}

// Write puts a file into the home directory, owned by who runs.
func (h *Home) Write(t testing.TB, name, content string) string {
	t.Helper()
	p := filepath.Join(h.Path, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Own(t)
	return p
}

// Own gives everything in the home directory to who runs.
func (h *Home) Own(t testing.TB) {
	t.Helper()
	if h.uid == os.Getuid() {
		return
	}
	err := filepath.WalkDir(h.Path, func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(p, h.uid, h.uid)
		}
		// What a session that was killed has left may be tidied up meanwhile.
		if p != h.Path && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a command in H, without any capability of the rig, and waits.
func (w *World) Run(h *Home, o Options, argv ...string) Result {
	w.t.Helper()
	if h == nil {
		h = w.NewHome(o)
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	cmd := w.Command(h, o, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if o.Stdout != nil {
		cmd.Stdout = io.MultiWriter(&stdout, o.Stdout)
	}
	cmd.WaitDelay = 2 * time.Second
	start := time.Now()
	if err := Start(cmd); err != nil {
		w.t.Fatalf("start %s: %v", argv[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	timedOut := false
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		timedOut = true
		// The whole group: what is in a pen dies with its supervisor.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		err = <-done
	}
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Home: h.Path, Dir: cmd.Dir, Took: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case timedOut:
		r.Code = -1
	case err == nil:
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
		if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
			r.Code = 128 + int(st.Signal())
		}
	case errors.Is(err, exec.ErrWaitDelay):
		r.Stderr += "\n(world: the command left a process that holds its output)"
	default:
		w.t.Fatalf("wait for %s: %v", argv[0], err)
	}
	return r
}

// Command prepares a command in H for a test that needs more than Run: pipes,
// signals. It must be started with Start.
func (w *World) Command(h *Home, o Options, argv ...string) *exec.Cmd {
	w.t.Helper()
	if o.Supervised {
		argv = w.supervised(h, argv)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = o.Dir
	if cmd.Dir == "" {
		cmd.Dir = h.Project
	}
	cmd.Stdin = o.Stdin
	cmd.Env = append([]string{
		"HOME=" + h.Path,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TERM=dumb",
		"USER=" + userName(h.uid),
		"LOGNAME=" + userName(h.uid),
	}, o.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if h.uid != os.Getuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}
		if h.uid == OtherUserID {
			cmd.SysProcAttr.Credential.Groups = []uint32{UserID}
		}
	}
	return cmd
}

func userName(uid int) string {
	switch uid {
	case 0:
		return "root"
	case UserID:
		return "penworld"
	case OtherUserID:
		return "penother"
	}
	return fmt.Sprint("uid", uid)
}

// forker is the one thread that starts commands: a parent-death signal follows
// the thread that forked, and Go ends threads when it likes.
var forker = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

// Start starts a command without any of the rig's capabilities.
func Start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	forker() <- func() { result <- startWithoutCaps(cmd) }
	return <-result
}

// startWithoutCaps runs on a locked thread. What the rig holds as ambient
// capabilities would be inherited by exec; for uid 0 there are none.
func startWithoutCaps(cmd *exec.Cmd) error {
	if os.Getuid() != 0 {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return fmt.Errorf("clear ambient capabilities: %w", err)
		}
	}
	return cmd.Start()
}

var penstockBinary struct {
	once sync.Once
	path string
	err  error
}

// Penstock returns the path of the penstock binary, built once per test process,
// or of the one that PENSTOCK_BIN names.
func Penstock(t testing.TB) string {
	t.Helper()
	b := &penstockBinary
	b.once.Do(func() {
		if p := os.Getenv("PENSTOCK_BIN"); p != "" {
			b.path = p
			// A tree under /root is not one that Options.User can enter.
			if os.Getuid() == 0 && rig != nil {
				b.path = filepath.Join(rig.dir, "penstock")
				b.err = copyProgram(b.path, p)
			}
			return
		}
		b.path, b.err = buildGo(rigDir(), "penstock", "github.com/penstock/penstock/cmd/penstock")
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// copyProgram has another process write: while this one holds a program open
// for writing, none of its children can start it (execve(2), ETXTBSY).
func copyProgram(to, from string) error {
	if msg, err := exec.Command("install", "-m", "0755", "--", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w\n%s", from, err, msg)
	}
	return nil
}

// Build compiles a Go package of this module to a binary that a pen can run.
func Build(t testing.TB, name, pkg string) string {
	t.Helper()
	p, err := buildGo(rigDir(), name, pkg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rigDir() string {
	if rig == nil {
		return os.TempDir()
	}
	return rig.dir
}

// buildGo builds a package; flags come first.
func buildGo(dir, name, pkg string, flags ...string) (string, error) {
	out := filepath.Join(dir, name)
	goBin := "go"
	if _, err := exec.LookPath(goBin); err != nil {
		//lint:ignore SA1019 only where PATH lacks it, on the machine that built this
		goBin = filepath.Join(runtime.GOROOT(), "bin", "go")
	}
	cmd := exec.Command(goBin, append(append([]string{"build"}, flags...), "-buildvcs=false", "-o", out, pkg)...)
	// Without cgo: a pen's /lib need not be the host's.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return out, os.Chmod(out, 0o755)
}

// Users returns who a suite has to run as: root, an ordinary user, and one under
// the privileged supervisor when the tests run as root, else only the ordinary
// user who runs them.
func Users() map[string]Options {
	if os.Getuid() == 0 {
		return map[string]Options{"root": {}, "user": {User: true}, "supervised": {User: true, Supervised: true}}
	}
	return map[string]Options{"user": {}}
}

// dialHere connects on the calling thread, so in its network namespace.
func dialHere(addr netip.Addr, port uint16) (net.Conn, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(port), Addr: [4]byte(addr.As4())})
	if addr.Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	if err := unix.Connect(fd, sa); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// Lines splits output into its non-empty lines.
func Lines(s string) []string {
	var out []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}
