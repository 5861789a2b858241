package bwrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/sandbox/rootfs"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role:shim" {
		os.Exit(shim.Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "role:root" {
		os.Exit(builder(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == hostileArg {
		os.Exit(hostile())
	}
	os.Exit(m.Run())
}

// builder plays role:netns: it puts the root together and becomes bwrap.
func builder(args []string) int {
	runtime.LockOSThread()
	fd, err := strconv.Atoi(args[0])
	if err == nil {
		err = rootfs.Build(fd)
	}
	if err == nil {
		err = syscall.Exec(args[1], args[2:], []string{})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// backend finds bwrap or says what to install.
func backend(t testing.TB) *Backend {
	t.Helper()
	b, err := New("")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return b
}

// plain is a small pen: system directories, a work directory.
func plain(t testing.TB, argv ...string) *sandbox.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	return &sandbox.Spec{
		Argv: argv, Env: []string{"PATH=/usr/bin:/bin"}, Dir: work,
		UID: os.Getuid(), GID: os.Getgid(), Penstock: self, Hostname: "pen",
		Mounts: []sandbox.Mount{
			{Source: "/usr", Target: "/usr"},
			{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
			{Kind: sandbox.Symlink, Source: "usr/lib", Target: "/lib"},
			{Kind: sandbox.Symlink, Source: "usr/lib64", Target: "/lib64"},
			{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true, Mode: 0o1777},
			{Source: work, Target: work, Write: true},
		},
		Files: []sandbox.File{{Target: "/etc/hosts", Content: []byte("127.0.0.1 localhost\n")}},
	}
}

// running is a started pen.
type running struct {
	conn *shim.Conn
	cmd  *exec.Cmd
	proc shim.Process
	out  bytes.Buffer
	errs bytes.Buffer
}

// start builds s in fresh user and network namespaces, as the builder does, and
// holds the shim.
func start(t testing.TB, s *sandbox.Spec, stdio ...*os.File) (*running, error) {
	t.Helper()
	b := backend(t)
	b.noTrace = rulesFor(s).Off
	if slices.Contains(s.Env, withoutBuilder) {
		b.features.prebuilt = false
	}
	conn, pen, err := shim.Pair()
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Command(s, pen, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{conn: conn, cmd: &exec.Cmd{
		Path: c.Path, Args: c.Argv, Env: []string{}, ExtraFiles: c.Files,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			Setsid:      true,
		},
	}}
	if c.Root != 0 {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		r.cmd.Path, r.cmd.Args = self, append([]string{self, "role:root", strconv.Itoa(c.Root), c.Path}, c.Argv...)
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if len(stdio) == 3 {
		r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = stdio[0], stdio[1], stdio[2]
	}
	if err := conn.Configure(&shim.Config{Argv: s.Argv, Env: s.Env, Dir: s.Dir, Umask: -1, Rules: rulesFor(s)}); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pen.Close()
	c.Close()
	t.Cleanup(func() { conn.Close(); r.cmd.Process.Kill(); r.cmd.Wait() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r.proc, err = conn.WaitReady(ctx)
	return r, err
}

// expect is what the supervisor expects of the held shim.
func (r *running) expect(t testing.TB, s *sandbox.Spec) *posture.Expectation {
	t.Helper()
	ours, filters, err := posture.Self()
	if err != nil {
		t.Fatal(err)
	}
	return &posture.Expectation{
		UID: s.UID, GID: s.GID, HostUID: os.Getuid(), HostGID: os.Getgid(),
		Ours: ours, Filters: filters, Control: r.proc.Socket, Mounts: posture.Declared(s),
	}
}

// finish releases the shim and waits for the command.
func (r *running) finish(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.conn.Release(); err != nil {
		t.Fatal(err)
	}
	err := r.conn.WaitExec(ctx)
	var failed *shim.ExecError
	if errors.As(err, &failed) {
		return failed.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	err = r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

// run runs a command in a plain pen.
func run(t testing.TB, s *sandbox.Spec) (int, string, string) {
	t.Helper()
	r, err := start(t, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.errs.String())
	}
	code := r.finish(t)
	return code, r.out.String(), r.errs.String()
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
		want int
	}{
		{"true", []string{"true"}, 0},
		{"own code", []string{"sh", "-c", "exit 7"}, 7},
		{"signal", []string{"sh", "-c", "kill -9 $$"}, 137},
		{"not found", []string{"no-such-command"}, 127},
		{"not there", []string{"/no/such"}, 127},
		{"not executable", []string{"/etc/hosts"}, 126},
		{"directory", []string{"/usr"}, 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, out, errs := run(t, plain(t, c.argv...)); code != c.want {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.want, out, errs)
			}
		})
	}
}

func TestScriptWithoutInterpreter(t *testing.T) {
	s := plain(t, "./run", "x")
	if err := os.WriteFile(filepath.Join(s.Dir, "run"), []byte("echo got $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := run(t, s); code != 0 || out != "got x\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

func TestInside(t *testing.T) {
	s := plain(t, "sh", "-c", "id -u; hostname; pwd; cat /etc/hosts; ls /; env; grep -E '^(Cap|NoNew|Sec)' /proc/self/status; tr '\\0' ' ' </proc/1/cmdline; ls -l /proc/self/fd")
	code, out, errs := run(t, s)
	t.Logf("%s%s", out, errs)
	if code != 0 || !strings.Contains(out, "NoNewPrivs:\t1") {
		t.Errorf("exit code %d", code)
	}
}

func BenchmarkPen(b *testing.B) {
	for b.Loop() {
		if code, _, errs := run(b, plain(b, "true")); code != 0 {
			b.Fatal(code, errs)
		}
	}
}

// Markers in a pen's environment: what to leave out, as older kernels do.
const (
	withoutLandlock = "WITHOUT=landlock"
	withoutBuilder  = "WITHOUT=builder"
)

// rulesFor are a pen's Landlock rules; a marker in its environment leaves them out.
func rulesFor(s *sandbox.Spec) confine.PenRules {
	r := Rules(s)
	for _, e := range s.Env {
		r.Off = r.Off || e == withoutLandlock
	}
	return r
}
