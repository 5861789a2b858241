package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/confine"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role:shim" {
		os.Exit(Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == framesRole {
		closeOthers(3)
		unix.CloseOnExec(3)
		os.Exit(obey(frames(3)))
	}
	os.Exit(m.Run())
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// begin starts a shim outside of any pen.
func begin(t testing.TB, cfg *Config, leaks ...*os.File) (*Conn, *exec.Cmd, *bytes.Buffer) {
	t.Helper()
	conn, pen, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		cfg.Rules = confine.PenRules{Off: true}
		if err := conn.Configure(cfg); err != nil {
			t.Fatal(err)
		}
	}
	out := &bytes.Buffer{}
	cmd := exec.Command(self, "role:shim", "4")
	leak, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = append([]*os.File{leak, pen, leak}, leaks...)
	cmd.Env = []string{"LEAKED=1"}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pen.Close()
	leak.Close()
	t.Cleanup(func() { conn.Close(); cmd.Process.Kill(); cmd.Wait() })
	return conn, cmd, out
}

func config(argv ...string) *Config {
	return &Config{Argv: argv, Env: []string{"PATH=/usr/bin:/bin", "A=1"}, Dir: "/", Umask: -1}
}

func TestHeldThenReleased(t *testing.T) {
	cfg := config("sh", "-c", "echo $A$LEAKED; pwd; umask; ulimit -n; ls /proc/self/fd | wc -l; cut -d' ' -f6 /proc/$$/stat; echo $$")
	cfg.Umask = 0o27
	cfg.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, 99}}
	conn, cmd, out := begin(t, cfg)
	p, err := conn.WaitReady(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != cmd.Process.Pid || p.UID != os.Getuid() || p.Socket == 0 {
		t.Errorf("%+v", p)
	}
	if name, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/exe"); err != nil || !strings.HasSuffix(name, ".test") {
		t.Errorf("it runs %q before it is released", name)
	}
	if err := conn.Release(); err != nil {
		t.Fatal(err)
	}
	if err := conn.WaitExec(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(p.PID)
	if got := out.String(); got != "1\n/\n0027\n99\n4\n"+pid+"\n"+pid+"\n" {
		t.Errorf("%q", got)
	}
}

// The runtime's poller stays while the shim is held, or the runtime ends it; an event
// descriptor that was inherited does not.
func TestPollerStays(t *testing.T) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	leak := os.NewFile(uintptr(event), "event")
	defer leak.Close()
	conn, cmd, out := begin(t, config("sh", "-c", "ls /proc/self/fd | wc -l"), leak)
	p, err := conn.WaitReady(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := "/proc/" + strconv.Itoa(p.PID) + "/fd"
	held, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var above []string
	for _, f := range held {
		if fd, _ := strconv.Atoi(f.Name()); fd < 3 {
			continue
		}
		link, err := os.Readlink(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		above = append(above, strings.TrimRight(link, "0123456789]"))
	}
	slices.Sort(above)
	if want := []string{"anon_inode:[eventfd", "anon_inode:[eventpoll", "socket:["}; !slices.Equal(above, want) {
		t.Errorf("%q, want %q", above, want)
	}
	if err := conn.Release(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "4\n" {
		t.Errorf("%v %q", err, out)
	}
}

func TestNotReleased(t *testing.T) {
	conn, cmd, out := begin(t, config("echo", "ran"))
	if _, err := conn.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	conn.Close() // as when the supervisor dies
	cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitBroken || out.Len() != 0 {
		t.Errorf("%v %q", cmd.ProcessState, out)
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	noexec := filepath.Join(dir, "noexec")
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(noexec, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(garbage, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		code   int
		errno  unix.Errno
	}{
		{"no such command", func(c *Config) { c.Argv = []string{"no-such"} }, 127, unix.ENOENT},
		{"no such file", func(c *Config) { c.Argv = []string{"/no/such"} }, 127, unix.ENOENT},
		{"below a file", func(c *Config) { c.Argv = []string{noexec + "/x"} }, 127, unix.ENOTDIR},
		{"no permission", func(c *Config) { c.Argv = []string{noexec} }, 126, unix.EACCES},
		{"no permission by PATH", func(c *Config) { c.Argv = []string{"noexec"}; c.Env = []string{"PATH=" + dir} }, 126, unix.EACCES},
		{"directory", func(c *Config) { c.Argv = []string{"/usr"} }, 126, unix.EACCES},
		{"no interpreter", func(c *Config) { c.Argv = []string{garbage} }, 127, unix.ENOENT},
		{"empty PATH", func(c *Config) { c.Argv = []string{"sh"}; c.Env = []string{"PATH="} }, 127, unix.ENOENT},
		{"no such directory", func(c *Config) { c.Dir = "/no/such" }, 125, unix.ENOENT},
		{"impossible limit", func(c *Config) { c.Rlimits = []Rlimit{{9999, 1}} }, 125, unix.EINVAL},
		{"no terminal", func(c *Config) { c.Terminal = true }, 125, unix.ENOTTY},
		{"long argument", func(c *Config) { c.Argv = []string{"true", strings.Repeat("x", 3<<20)} }, 126, unix.E2BIG},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config("true")
			c.change(cfg)
			conn, cmd, out := begin(t, cfg)
			_, err := conn.WaitReady(soon(t))
			if err == nil {
				if err := conn.Release(); err != nil {
					t.Fatal(err)
				}
				err = conn.WaitExec(soon(t))
			}
			var e *ExecError
			if !errors.As(err, &e) || e.ExitCode() != c.code || !errors.Is(err, c.errno) {
				t.Fatalf("%v, want code %d and %v", err, c.code, c.errno)
			}
			cmd.Wait()
			if out.Len() != 0 {
				t.Errorf("the shim printed %q", out)
			}
		})
	}
}

func TestPathSearch(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/tool", "b"} { // a/tool is a directory
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "b/tool"), []byte("echo found by sh $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := config("tool", "arg")
	cfg.Env = []string{"PATH=/first/loses", "PATH=" + dir + "/none:" + dir + "/a:" + dir + "/b:/usr/bin"}
	conn, cmd, out := begin(t, cfg)
	if _, err := conn.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	if err := conn.WaitExec(soon(t)); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if out.String() != "found by sh arg\n" {
		t.Errorf("%q", out)
	}
}

func TestConfigureRefuses(t *testing.T) {
	conn, pen, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer pen.Close()
	defer conn.Close()
	for name, cfg := range map[string]*Config{
		"no command":         {Dir: "/"},
		"empty command":      {Dir: "/", Argv: []string{""}},
		"NUL in argument":    {Dir: "/", Argv: []string{"a", "b\x00c"}},
		"NUL in environment": {Dir: "/", Argv: []string{"a"}, Env: []string{"A=\x00"}},
		"relative directory": {Dir: "x", Argv: []string{"a"}},
	} {
		if err := conn.Configure(cfg); err == nil {
			t.Error(name)
		}
	}
	var e *ExecError
	if err := conn.Configure(&Config{Dir: "/", Argv: []string{"a", strings.Repeat("x", maxConfig)}}); !errors.As(err, &e) || e.ExitCode() != 126 {
		t.Errorf("%v", err)
	}
}

func TestPenEndsEarly(t *testing.T) {
	conn, pen, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pen.Close()
	if _, err := conn.WaitReady(soon(t)); !errors.Is(err, ErrNoShim) {
		t.Error(err)
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	conn, pen, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer pen.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	if _, err := conn.WaitReady(ctx); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}

// TestLiar: what the pen's end says is not believed.
func TestLiar(t *testing.T) {
	big := make([]byte, maxMessage+1)
	for name, packet := range map[string][]byte{
		"nothing":      []byte(" "),
		"not json":     []byte("ready"),
		"unknown kind": []byte(`{"kind":"root"}`),
		"unknown key":  []byte(`{"kind":"ready","pid":1}`),
		"two":          []byte(`{"kind":"ready"}{"kind":"ready"}`),
		"go":           encode(message{Kind: kindGo}),
		"too long":     big,
	} {
		t.Run(name, func(t *testing.T) {
			conn, pen, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			defer pen.Close()
			if _, err := pen.Write(packet); err != nil {
				t.Fatal(err)
			}
			if p, err := conn.WaitReady(soon(t)); err == nil {
				t.Errorf("taken: %+v", p)
			}
		})
	}
	t.Run("descriptors", func(t *testing.T) {
		conn, pen, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		defer pen.Close()
		r, w, _ := os.Pipe()
		defer r.Close()
		if err := unix.Sendmsg(int(pen.Fd()), encode(message{Kind: kindReady}), unix.UnixRights(int(w.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := conn.WaitReady(soon(t)); err == nil {
			t.Error("taken")
		}
		r.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the descriptor is still open: %v", err)
		}
	})
}

func TestHostileErrorText(t *testing.T) {
	m, err := decode(encode(message{Kind: kindFailed, Step: "\x1b[31mexec", Text: strings.Repeat("\x1b]0;x\a", 1000), Errno: 2}))
	if err != nil {
		t.Fatal(err)
	}
	if s := m.failure().Error(); strings.ContainsAny(s, "\x1b\a") || len(s) > 4000 {
		t.Errorf("%q", s)
	}
	m.Errno = -5
	if s := m.failure().Error(); strings.ContainsAny(s, "\x1b\a") {
		t.Errorf("%q", s)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(message{Kind: kindReady, Landlock: 7}))
	f.Add(encode(message{Kind: kindFailed, Step: stepExec, Errno: 2, Text: "x"}))
	f.Add([]byte(`{"kind":"failed","errno":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if s := m.failure().Error(); strings.ContainsAny(s, "\x1b\a\n") {
			t.Errorf("%q", s)
		}
		if again, err := decode(encode(m)); err == nil && again.Kind != m.Kind {
			t.Errorf("%v became %v", m, again)
		}
	})
}

func FuzzDecodeConfig(f *testing.F) {
	doc, _ := json.Marshal(config("true"))
	f.Add(doc)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeConfig(b); err == nil && (len(c.Argv) == 0 || !strings.HasPrefix(c.Dir, "/")) {
			t.Errorf("%+v", c)
		}
	})
}

// BenchmarkShim is what the shim costs from start to exec.
func BenchmarkShim(b *testing.B) {
	for b.Loop() {
		conn, cmd, _ := begin(b, config("true"))
		if _, err := conn.WaitReady(soon(b)); err != nil {
			b.Fatal(err)
		}
		conn.Release()
		if err := conn.WaitExec(soon(b)); err != nil {
			b.Fatal(err)
		}
		cmd.Wait()
		conn.Close()
	}
}
