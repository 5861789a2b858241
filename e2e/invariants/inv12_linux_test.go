package invariants

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// TestInvariant12TheCommandsOwnResult: exit code, signals, bytes and terminal
// are the command's.
func TestInvariant12TheCommandsOwnResult(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		t.Run("exit codes", func(t *testing.T) { exitCodes(t, c) })
		t.Run("bytes", func(t *testing.T) { exactBytes(t, c) })
		t.Run("signals", func(t *testing.T) { forwarded(t, c) })
		t.Run("terminal", func(t *testing.T) { terminal(t, c) })
	})
}

func exitCodes(t *testing.T, c *host.Caller) {
	for _, code := range []int{0, 1, 2, 7, 63, 64, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255} {
		if r := c.Tool(nil, "exit", strconv.Itoa(code)); r.Code != code {
			t.Errorf("want exit %d\n%s", code, r)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGILL, syscall.SIGABRT, syscall.SIGKILL,
		syscall.SIGSEGV, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGSYS, syscall.SIGXCPU} {
		if r := c.Run(nil, "/bin/sh", "-c", fmt.Sprintf("kill -%d $$", int(sig))); r.Code != 128+int(sig) {
			t.Errorf("%s: want exit %d\n%s", sig, 128+int(sig), r)
		}
	}
	dir := c.Home.Project
	c.Home.Write(t, "project/not-executable", "#!/bin/sh\n")
	c.Home.Write(t, "project/bad-interpreter", "#!/nonexistent/interpreter\n")
	os.Chmod(filepath.Join(dir, "bad-interpreter"), 0o755)
	for _, f := range []struct {
		name string
		code int
	}{
		{dir + "/not-executable", 126}, {dir, 126}, {"/etc/passwd", 126}, {dir + "/bad-interpreter", 127},
		{dir + "/missing", 127}, {"no-such-command-anywhere", 127}, {"./missing", 127},
	} {
		r := c.Run(nil, f.name)
		if r.Code != f.code || !strings.Contains(r.Stderr, "penstock: ") {
			t.Errorf("%s: want exit %d and a reason\n%s", f.name, f.code, r)
		}
	}
	for _, flags := range [][]string{{"--sandbox", "gvisor"}, {"--no-such-flag"}, {"--workdir", "/nonexistent"}} {
		if r := c.Run(flags, "/bin/true"); r.Code != 125 {
			t.Errorf("%v: want exit 125\n%s", flags, r)
		}
	}
}

// exactBytes sends 10 MB of every byte through stdin to stdout, and other bytes
// to stderr, by pipes and by files.
func exactBytes(t *testing.T, c *host.Caller) {
	const size = 10 << 20
	in := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{12})
	rng.Read(in)
	want := sha256.Sum256(in)
	argv := []string{"/bin/sh", "-c", "cat; printf 'a\\000\\377\\033[31m\\r\\nno newline' >&2"}
	const onStderr = "a\x00\xff\x1b[31m\r\nno newline"

	cmd := c.Command(c.RunArgs([]string{"-q"}, argv...)...)
	cmd.Stdin = bytes.NewReader(in)
	s := c.StartCommand(cmd)
	if code := s.Wait(); code != 0 || sha256.Sum256([]byte(s.Out.String())) != want || s.Err.String() != onStderr {
		t.Errorf("by pipes: exit %d, %d bytes, stderr %q", code, len(s.Out.String()), s.Err)
	}

	source := filepath.Join(c.Home.Path, "source")
	if err := os.WriteFile(source, in, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = c.Command("/bin/sh", "-c", `in=$1 out=$2 err=$3; shift 3; exec "$@" <"$in" >"$out" 2>"$err"`, "sh",
		source, filepath.Join(c.Home.Path, "out"), filepath.Join(c.Home.Path, "err"))
	c.Home.Own(t)
	cmd.Args = append(cmd.Args, c.RunArgs([]string{"-q"}, argv...)...)
	if r := c.StartCommand(cmd).Result(); r.Code != 0 {
		t.Error(r)
	}
	out, _ := os.ReadFile(filepath.Join(c.Home.Path, "out"))
	errs, _ := os.ReadFile(filepath.Join(c.Home.Path, "err"))
	if sha256.Sum256(out) != want || string(errs) != onStderr {
		t.Errorf("by files: %d bytes, stderr %q", len(out), errs)
	}

	// What the command has not read is not read: the next reader of a file gets it.
	cmd = c.Command("/bin/sh", "-c", `in=$1; shift; { "$@" >/dev/null; cat; } <"$in"`, "sh", source)
	cmd.Args = append(cmd.Args, c.RunArgs([]string{"-q"}, "/usr/bin/dd", "bs=100000", "count=1", "status=none")...)
	if r := c.StartCommand(cmd).Result(); !bytes.Equal([]byte(r.Stdout), in[100000:]) {
		t.Errorf("%d bytes are left after the command, want %d", len(r.Stdout), size-100000)
	}
	// A reader that goes away ends the command as it would without a pen.
	r := c.World.Run(c.Home, c.Opts, append([]string{"/bin/bash", "-c", `"$@" | head -c 5; echo "${PIPESTATUS[0]}"`, "bash"}, c.RunArgs([]string{"-q"}, "/usr/bin/yes")...)...)
	if r.Stdout != "y\ny\ny141\n" {
		t.Errorf("a reader that goes away\n%s", r)
	}
}

// forwarded: signals of the caller reach the command, and it decides.
func forwarded(t *testing.T, c *host.Caller) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		s := c.StartTool(nil, "trap")
		s.Expect("ready")
		for n := 1; n <= 2; n++ {
			kill(t, s.PID(), sig)
			s.Expect(fmt.Sprintf("got %d: %d", n, int(sig)))
		}
		if code := s.Wait(); code != 40+int(sig)%40 {
			t.Errorf("%s: exit %d\n%s", sig, code, s.Err)
		}
	}
	// The command's default: it dies of it.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1} {
		s := c.Start(nil, "/bin/sh", "-c", "echo ready; exec sleep 1000")
		s.Expect("ready")
		host.Until(t, "sleep", func() bool { return comm(s.Role(host.Command)) == "sleep" })
		kill(t, s.PID(), sig)
		if code := s.Wait(); code != 128+int(sig) {
			t.Errorf("%s: exit %d\n%s", sig, code, s.Err)
		}
	}
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

func exitTool(args []string) int {
	n, _ := strconv.Atoi(args[0])
	return n
}

// trapTool says which signals it gets, and ends with one as its exit code when
// its stdin ends.
func trapTool([]string) int {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	end := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	fmt.Println("ready")
	last := 0
	for n := 1; ; n++ {
		select {
		case s := <-c:
			last = int(s.(syscall.Signal))
			fmt.Printf("got %d: %d\n", n, last)
		case <-end:
			return 40 + last%40
		}
	}
}

// terminal: at a real one, the command has one of its own with the same size,
// its line discipline, and its Ctrl-C.
func terminal(t *testing.T, c *host.Caller) {
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	size := func(rows, columns uint16) {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			t.Fatal(err)
		}
	}
	size(33, 101)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.Command(c.RunArgs([]string{"-q"}, host.ToolCommand("terminal")...)...)
	cmd.Stdin = slave
	cmd.SysProcAttr.Setpgid = false
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	var shown host.Output
	go io.Copy(&shown, master)
	s := c.StartOnTerminal(cmd, slave)
	expect := func(text string) {
		t.Helper()
		if !host.Soon(func() bool { return strings.Contains(shown.String(), text) }, host.Patience/3) {
			t.Fatalf("no %q at the terminal: %q", text, shown.String())
		}
	}
	expect("terminals true true true\r\n")
	expect("size 33 101\r\n")
	expect("foreground true\r\n")
	io.WriteString(master, "a line\n")
	expect("line a line\r\n")
	size(20, 77)
	expect("size 20 77\r\n")
	io.WriteString(master, "\x03")
	expect("interrupt 1\r\n")
	io.WriteString(master, "\x1c")
	expect("quit 1\r\n")
	io.WriteString(master, "again\n\x04")
	expect("line again\r\n")
	if code := s.Wait(); code != 42 {
		t.Errorf("exit %d, want 42: %q", code, shown.String())
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal's settings are %+v, were %+v", after, before)
	}
	slave.Close()
	// Without a terminal there is none.
	if r := c.Tool(nil, "terminal"); !strings.Contains(r.Stdout, "terminals false false false\n") {
		t.Errorf("by pipes\n%s", r)
	}
}

func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// terminalTool describes its terminal and what comes from it, until its end.
func terminalTool([]string) int {
	is := func(fd int) bool { _, err := unix.IoctlGetTermios(fd, unix.TCGETS); return err == nil }
	fmt.Println("terminals", is(0), is(1), is(2))
	if !is(0) {
		return 0
	}
	size := func() {
		if w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
			fmt.Println("size", w.Row, w.Col)
		}
	}
	size()
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Println("foreground", err == nil && group == unix.Getpgrp())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGINT, syscall.SIGQUIT)
	lines := make(chan string)
	go func() {
		defer close(lines)
		buf := make([]byte, 4096)
		for {
			n, err := os.Stdin.Read(buf)
			if n == 0 || err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	interrupts, quits := 0, 0
	for {
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGWINCH:
				size()
			case syscall.SIGINT:
				interrupts++
				fmt.Println("interrupt", interrupts)
			case syscall.SIGQUIT:
				quits++
				fmt.Println("quit", quits)
			}
		case l, ok := <-lines:
			if !ok {
				return 42
			}
			fmt.Print("line ", l)
		}
	}
}
