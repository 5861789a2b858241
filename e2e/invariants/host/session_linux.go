package host

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// Patience bounds every wait for something that must come; it is for a machine
// under load.
const Patience = 60 * time.Second

// Session is a running `penstock run`.
type Session struct {
	c      *Caller
	Cmd    *exec.Cmd
	Out    *Output
	Err    *Output
	in     io.WriteCloser
	exited chan struct{}
}

// Start starts a command in a pen and returns at once.
func (c *Caller) Start(flags []string, argv ...string) *Session {
	c.T.Helper()
	return c.StartCommand(c.Command(c.RunArgs(flags, argv...)...))
}

// Command prepares a command of the caller's, which StartCommand starts.
func (c *Caller) Command(argv ...string) *exec.Cmd {
	c.T.Helper()
	return c.World.Command(c.Home, c.Opts, argv...)
}

// run runs a command of the caller's to its end.
func (c *Caller) run(argv ...string) world.Result {
	c.T.Helper()
	start := time.Now()
	r := c.StartCommand(c.Command(argv...)).Result()
	r.Took = time.Since(start)
	return r
}

// StartTool starts a tool in a pen.
func (c *Caller) StartTool(flags []string, name string, args ...string) *Session {
	c.T.Helper()
	return c.Start(flags, ToolCommand(name, args...)...)
}

// StartCommand starts a prepared command. It is killed when the test ends.
func (c *Caller) StartCommand(cmd *exec.Cmd) *Session {
	c.T.Helper()
	s := &Session{c: c, Cmd: cmd, Out: &Output{}, Err: &Output{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.Out, s.Err
	s.start()
	return s
}

// StartOnTerminal starts a prepared command whose streams are a terminal.
func (c *Caller) StartOnTerminal(cmd *exec.Cmd, terminal *os.File) *Session {
	c.T.Helper()
	s := &Session{c: c, Cmd: cmd, Out: &Output{}, Err: &Output{}, exited: make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	s.start()
	return s
}

func (s *Session) start() {
	c, cmd := s.c, s.Cmd
	c.T.Helper()
	// Only what penstock itself holds open is waited for: a process that is left
	// behind must not hang the test that looks for it. What is not read by then is
	// lost, so it is for a machine under load too.
	cmd.WaitDelay = Patience / 6
	if cmd.Stdin == nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			c.T.Fatal(err)
		}
		s.in = in
	}
	if err := started.start(cmd); err != nil {
		c.T.Fatalf("start: %v", err)
	}
	go func() {
		cmd.Wait()
		started.forget(cmd)
		close(s.exited)
	}()
	c.T.Cleanup(func() {
		cmd.Process.Kill()
		<-s.exited
	})
}

// PID is the supervisor's process id.
func (s *Session) PID() int { return s.Cmd.Process.Pid }

// Input is the session's stdin, which Wait closes.
func (s *Session) Input() io.Writer { return s.in }

// Exited is closed when the supervisor has ended.
func (s *Session) Exited() <-chan struct{} { return s.exited }

// Wait returns the exit status, 128+n for a signal.
func (s *Session) Wait() int {
	s.c.T.Helper()
	if s.in != nil {
		s.in.Close()
	}
	select {
	case <-s.exited:
	case <-time.After(Patience):
		s.c.T.Fatalf("the session did not end in %s\n%s", Patience, Tree(s.PID()))
	}
	st := s.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	if st.Signaled() {
		return 128 + int(st.Signal())
	}
	return st.ExitStatus()
}

// Result returns how the session ended, for a failed test.
func (s *Session) Result() world.Result {
	code := s.Wait()
	return world.Result{Stdout: s.Out.String(), Stderr: s.Err.String(), Code: code}
}

// Role waits for a process of the session and returns its id.
func (s *Session) Role(r Role) int {
	s.c.T.Helper()
	pid := 0
	Until(s.c.T, "the session's "+string(r), func() bool {
		pid = Find(s.PID(), r)
		return pid != 0 || s.Over()
	})
	if pid == 0 {
		s.c.T.Fatalf("the session ended before its %s was found\n%s", r, s.Result())
	}
	return pid
}

// Over says whether the supervisor has ended.
func (s *Session) Over() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// Expect waits until the command has written text to stdout.
func (s *Session) Expect(text string) {
	s.c.T.Helper()
	Until(s.c.T, "output "+text, func() bool { return strings.Contains(s.Out.String(), text) || s.Over() })
	if !strings.Contains(s.Out.String(), text) {
		s.c.T.Fatalf("the session ended without %q\n%s", text, s.Result())
	}
}

// Until polls a condition and fails the test if it does not come true.
func Until(t interface {
	Helper()
	Fatalf(string, ...any)
}, what string, ok func() bool) {
	t.Helper()
	if !Soon(ok, Patience) {
		t.Fatalf("waited %s in vain for %s", Patience, what)
	}
}

// Soon polls a condition and says whether it came true in time.
func Soon(ok func() bool, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// Output collects what a process writes.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Signal sends a signal to a process that is still there.
func Signal(pid int, sig syscall.Signal) error {
	err := syscall.Kill(pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
