package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// platforms in the order of preference.
func platforms() []string { return []string{"systrap", "ptrace"} }

// begin runs the command and returns its exit code.
func begin(w *world) int {
	// From here on: a signal may come before there is anybody to pass it to.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	signal.Reset(syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE)
	if w.trace > 0 {
		// It came without: nothing but the sentry shall have it.
		unix.CloseOnExec(w.trace)
		w.journal = os.NewFile(uintptr(w.trace), "journal")
	}
	if w.further > 0 {
		unix.CloseOnExec(w.further)
	}
	out, err := openStreams([3]*os.File{os.Stdin, os.Stdout, os.Stderr}, w.terminal)
	if err != nil {
		return broken(err)
	}
	return launch(w, out, signals)
}

func launch(w *world, out *streams, signals <-chan os.Signal) int {
	tries := platforms()
	if w.platform != "" {
		tries = []string{w.platform}
	}
	var last error
	for _, p := range tries {
		code, err := attempt(w, p, out, signals)
		if err == nil {
			out.drain()
			return code
		}
		last = err
		var run *notRun
		if errors.As(err, &run) && run.script != "" && w.argv[0] != "/bin/sh" {
			// As execvp(3) does: a file without a known format is one for the shell.
			w.argv = append([]string{"/bin/sh", run.script}, w.argv[1:]...)
			w.platform = p
			return launch(w, out, signals)
		}
		if run != nil {
			fmt.Fprintf(os.Stderr, "penstock: %s: %s\n", w.argv[0], run.text)
			return run.code
		}
		var died *died
		if errors.As(err, &died) {
			out.drain()
			break
		}
	}
	fmt.Fprintf(os.Stderr, "penstock: tier gvisor: %v\n", last)
	return exitBroken
}

// died is a sentry that ended after the command had been started.
type died struct{ why string }

func (e *died) Error() string { return "gVisor's kernel ended: " + e.why }

// notRun is a command that could not be executed.
type notRun struct {
	code   int
	text   string
	script string // the path of a file that is no program
}

func (e *notRun) Error() string { return e.text }

// attempt runs the command on one platform. An error is that it did not run, or did
// not run to its end.
func attempt(w *world, platform string, out *streams, signals <-chan os.Signal) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	ends := [2]*os.File{os.NewFile(uintptr(pair[0]), "gofer"), os.NewFile(uintptr(pair[1]), "sentry")}
	defer ends[0].Close()
	defer ends[1].Close()
	said, status, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer said.Close()
	defer status.Close()

	files := command(roleGofer, w.root)
	files.Stderr = nil
	files.Env = []string{}
	files.ExtraFiles = []*os.File{ends[0]}
	if err := files.Start(); err != nil {
		return 0, fmt.Errorf("start the gofer: %w", err)
	}
	given := append([]*os.File{ends[1], status}, out.inner[:]...)
	journal := 0
	if w.trace > 0 {
		given, journal = append(given, w.journal), fdTrace
	}
	kernel := command(roleSentry, w.args(platform, journal)...)
	var last tail
	kernel.Stderr = &last
	kernel.ExtraFiles = given
	if err := kernel.Start(); err != nil {
		files.Process.Kill()
		files.Wait() //nolint:errcheck // it was killed
		return 0, fmt.Errorf("start gVisor's kernel: %w", err)
	}
	ends[0].Close()
	ends[1].Close()
	status.Close()
	started, done := make(chan struct{}), make(chan struct{})
	early := make(chan int, 1)
	go func() { early <- pass(kernel.Process, signals, started, done) }()
	if w.further > 0 {
		go func() {
			select {
			case <-started:
				(&further{w, controlName(kernel.Process.Pid)}).serve(w.further)
			case <-done:
			}
		}()
	}
	end := listen(said, started)
	werr := kernel.Wait()
	close(done)
	code := <-early
	files.Process.Kill()
	files.Wait() //nolint:errcheck // it was killed
	switch {
	case end.Ended:
		return end.Code, nil
	case code != 0:
		return code, nil
	case end.Error != "":
		return 0, classify(end.Error)
	case end.Started:
		return 0, &died{why(werr, last.String())}
	}
	return 0, fmt.Errorf("gVisor's kernel can't start on %s: %s", platform, why(werr, last.String()))
}

// pass hands signals to the command until done is closed. Before it has started there
// is nobody to hand them to: one that would end it ends the kernel, and its exit code
// is returned.
func pass(kernel *os.Process, signals <-chan os.Signal, started, done <-chan struct{}) (code int) {
	for {
		select {
		case s := <-signals:
			select {
			case <-started:
				kernel.Signal(s) //nolint:errcheck // it has ended
			default:
				switch s {
				case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT:
					code = 128 + int(s.(syscall.Signal))
					kernel.Kill() //nolint:errcheck // it has ended
				}
			}
		case <-done:
			return code
		}
	}
}

// command is another process of this program, in a session of its own: what the
// terminal's keys send comes to the first process, once.
func command(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{role}, args...)...)
	cmd.Args[0] = "penstock-gvisor"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// maxStatus bounds what the sentry says, in bytes.
const maxStatus = 64 << 10

// listen reads what the sentry says until it ends, and returns all of it together. It
// closes started when the command has been.
func listen(r io.Reader, started chan<- struct{}) (all status) {
	lines := bufio.NewScanner(io.LimitReader(r, maxStatus))
	for lines.Scan() {
		var s status
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			break
		}
		if s.Started && !all.Started {
			close(started)
			all.Started = true
		}
		if s.Error != "" {
			all.Error = s.Error
		}
		if s.Ended {
			all.Ended, all.Code = true, s.Code&0xff
		}
	}
	return all
}

// classify tells a command that can't be executed from a kernel that can't start.
func classify(said string) error {
	said = strings.ReplaceAll(said, "\n", " ")
	_, failed, ok := strings.Cut(said, "failed to load ")
	switch {
	case !ok && !strings.Contains(said, "error finding executable"):
		return errors.New(said)
	case strings.HasSuffix(said, "no such file or directory"):
		return &notRun{code: exitNotFound, text: "command not found"}
	case strings.HasSuffix(said, "permission denied"):
		return &notRun{code: exitNotExecutable, text: "permission denied"}
	case strings.HasSuffix(said, ": exec format error"):
		return &notRun{code: exitNotExecutable, text: "exec format error", script: strings.TrimSuffix(failed, ": exec format error")}
	}
	return &notRun{code: exitNotExecutable, text: said}
}

func why(err error, stderr string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	if err == nil {
		err = errors.New("it ended")
	}
	if line == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v: %q", err, line)
}

// tail keeps the first of what is written to it; the rest of a panic says no more.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), 4<<10-len(t.b))]...)
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
