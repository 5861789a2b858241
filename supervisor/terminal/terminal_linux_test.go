package terminal

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name     string
		mode     uint32
		rdev     uint64
		terminal bool
		want     class
	}{
		{"file", unix.S_IFREG, 0, false, direct},
		{"pipe", unix.S_IFIFO, 0, false, direct},
		{"null", unix.S_IFCHR, unix.Mkdev(1, 3), false, direct},
		{"terminal", unix.S_IFCHR, unix.Mkdev(136, 1), true, tty},
		{"zero", unix.S_IFCHR, unix.Mkdev(1, 5), false, piped},
		{"mem", unix.S_IFCHR, unix.Mkdev(1, 1), false, piped},
		{"disk", unix.S_IFBLK, unix.Mkdev(8, 0), false, piped},
		{"socket", unix.S_IFSOCK, 0, false, piped},
		{"directory", unix.S_IFDIR, 0, false, piped},
		{"unknown", 0, 0, false, piped},
	} {
		if got := classify(c.mode, c.rdev, c.terminal); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// run runs a command on the streams that a Terminal makes of three files, in a
// session of its own, and returns when Finish has.
func run(t *testing.T, term *Terminal, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	in, out, errs := term.Files()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if term.Interactive() {
		cmd.SysProcAttr.Setctty = true
		for fd, f := range []*os.File{in, out, errs} {
			if f == term.own[0] {
				cmd.SysProcAttr.Ctty = fd
				break
			}
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := term.Started(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Log(err)
	}
	term.Finish()
}

func socketpair(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSocketDoesNotReachThePen(t *testing.T) {
	ours, theirs := socketpair(t)
	term, err := New(theirs, theirs, theirs)
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<14) // 256 KiB: more than a pipe holds
	got := make(chan []byte)
	go func() {
		ours.Write(payload)
		unix.Shutdown(int(ours.Fd()), unix.SHUT_WR)
		b, _ := io.ReadAll(io.LimitReader(ours, int64(len(payload)+4)))
		got <- b
	}()
	run(t, term, "sh", "-c", "for f in 0 1 2; do test -p /proc/self/fd/$f || exit 9; done; cat; echo end >&2")
	if b := <-got; !bytes.Equal(b, append(payload, "end\n"...)) {
		t.Errorf("%d bytes came back, want %d", len(b), len(payload)+4)
	}
}

func TestDirectoryReadsAsEmpty(t *testing.T) {
	d, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r, w, _ := os.Pipe()
	term, err := New(d, w, w)
	if err != nil {
		t.Fatal(err)
	}
	run(t, term, "sh", "-c", "test -d /proc/self/fd/0 && echo escape; wc -c")
	w.Close()
	if b, _ := io.ReadAll(r); strings.TrimSpace(string(b)) != "0" {
		t.Errorf("%q", b)
	}
}

func TestFileIsPassedDirectly(t *testing.T) {
	p := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	term, err := New(null(t), f, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, out, _ := term.Files(); out != f {
		t.Error("a regular file is not passed as it is")
	}
	run(t, term, "printf", "a\\000b")
	if b, _ := os.ReadFile(p); string(b) != "a\x00b" {
		t.Errorf("%q", b)
	}
}

func TestClosedReaderIsPassedOn(t *testing.T) {
	ours, theirs := socketpair(t)
	term, err := New(null(t), theirs, null(t))
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	done := make(chan bool)
	go func() { run(t, term, "yes"); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("yes never noticed that nobody reads")
	}
}

// userTerminal makes a terminal that plays the caller's.
func userTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	m, s, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(int(m.Fd()), false)
	t.Cleanup(func() { m.Close(); s.Close() })
	return m, s
}

func readUntil(t *testing.T, f *os.File, want string) string {
	t.Helper()
	var all strings.Builder
	defer func() {
		if testing.Verbose() {
			t.Logf("%q", all.String())
		}
	}()
	buf := make([]byte, 4096)
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(all.String(), want) {
		p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		ready, err := unix.Poll(p, int(max(0, time.Until(deadline)).Milliseconds()))
		if err == unix.EINTR { // the runtime's own signals, among others
			continue
		}
		if ready == 0 {
			t.Fatalf("%q did not come, only %q", want, all.String())
		}
		n, err := unix.Read(int(f.Fd()), buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("%v after %q", err, all.String())
		}
		all.Write(buf[:n])
	}
	return all.String()
}

// readToPass waits for want and for the child's PASS, which may come in one piece.
func readToPass(t *testing.T, f *os.File, want string) {
	t.Helper()
	if out := readUntil(t, f, want); !strings.Contains(out, "PASS") {
		readUntil(t, f, "PASS")
	}
}

// asForeground runs this test again as leader of a session on a terminal of
// its own: only there may it change it.
func asForeground(t *testing.T) (keyboard *os.File, child bool) {
	t.Helper()
	if os.Getenv("TERMINAL_TEST_CHILD") == "1" {
		return nil, true
	}
	// A shell can't trap what was ignored when it started, as in a script's background.
	if signal.Ignored(os.Interrupt) {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	keyboard, terminal := userTerminal(t)
	size := &unix.Winsize{Row: 33, Col: 101}
	if err := unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
	self, _ := os.Executable()
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "TERMINAL_TEST_CHILD=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			cmd.Process.Kill() // it waits for a key that does not come
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if s, _ := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS); s == nil || s.Lflag&unix.ECHO == 0 || s.Oflag&unix.OPOST == 0 {
			t.Error("the terminal was not restored")
		}
	})
	return keyboard, false
}

func TestTerminal(t *testing.T) {
	keyboard, child := asForeground(t)
	if child {
		term, err := New(os.Stdin, os.Stdout, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		run(t, term, "sh", "-c", `stty size; trap 'echo size $(stty size)' WINCH; trap 'echo interrupted' INT; test -t 0 && test -t 1 && echo ready
			read a; echo "got $a"; until read b; do :; done; echo "then $b"; exit 0`)
		return
	}
	if out := readUntil(t, keyboard, "ready"); !strings.Contains(out, "33 101") {
		t.Errorf("window size: %q", out)
	}
	if _, err := keyboard.WriteString("hello\r"); err != nil {
		t.Fatal(err)
	}
	readUntil(t, keyboard, "got hello")
	keyboard.WriteString("\x03")
	readUntil(t, keyboard, "interrupted")
	unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120})
	readUntil(t, keyboard, "size 40 120")
	keyboard.WriteString("bye\r")
	readToPass(t, keyboard, "then bye")
}

func TestInputFromElsewhereKeyboardByTTY(t *testing.T) {
	keyboard, child := asForeground(t)
	if child {
		r, w, _ := os.Pipe()
		w.WriteString("from the pipe\n")
		w.Close()
		term, err := New(r, os.Stdout, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		run(t, term, "sh", "-c", `read a; echo "pipe: $a"; read b </dev/tty; echo "key: $b"`)
		return
	}
	readUntil(t, keyboard, "pipe: from the pipe")
	keyboard.WriteString("k\r")
	readToPass(t, keyboard, "key: k")
}

func TestFinishWithoutStart(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	term, err := New(f, f, f)
	if err != nil {
		t.Fatal(err)
	}
	term.Finish()
	term.Finish()
}
