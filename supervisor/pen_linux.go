package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/procs"
)

// pen is a session's first process, from before it becomes the sandbox to its end.
type pen interface {
	// Execute says what it becomes; Executed waits until it has.
	Execute(next *sandbox.Command) error
	Executed(ctx context.Context) error
	Process() *os.Process
	Done() <-chan struct{}
	Wait() (*os.ProcessState, error)
	// Close kills it, and all that is in it, and waits for its end.
	Close() error
}

var (
	_ pen = (*netns.Building)(nil)
	_ pen = (*plainPen)(nil)
)

// plainPen is a command's first process where there are no namespaces: nothing is
// built, so nothing is started before it is executed.
type plainPen struct {
	stdio [3]*os.File
	group *os.File // control group, or nil

	mu      sync.Mutex
	cmd     *exec.Cmd
	process *donate.Process
	reaped  bool // its number may be another's
	closed  bool
	done    chan struct{}
}

func newPlainPen(stdio [3]*os.File, group *os.File) *plainPen {
	return &plainPen{stdio: stdio, group: group, done: make(chan struct{})}
}

// Execute starts the process. It is called once.
func (p *plainPen) Execute(next *sandbox.Command) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("start the command: the session has ended")
	}
	p.cmd = &exec.Cmd{
		Path: next.Path, Args: next.Argv, Env: next.Env, Stdin: p.stdio[0], Stdout: p.stdio[1], Stderr: p.stdio[2], ExtraFiles: next.Files,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if p.group != nil {
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(p.group.Fd())
	}
	var err error
	p.process, err = donate.Start(p.cmd, func(pid int) {
		waitEnded(pid)
		p.mu.Lock()
		p.reaped = true
		p.mu.Unlock()
	})
	if err != nil {
		p.cmd = nil
		return fmt.Errorf("start the command: %w", err)
	}
	go func() {
		<-p.process.Done()
		close(p.done)
	}()
	return nil
}

// Executed returns at once: Execute has said what there is to say.
func (p *plainPen) Executed(context.Context) error { return nil }

// Process is the first process. It is not asked for before Execute.
func (p *plainPen) Process() *os.Process { return p.cmd.Process }

// Done is closed when it has ended and is reaped, or never will be started.
func (p *plainPen) Done() <-chan struct{} { return p.done }

// Wait waits for its end.
func (p *plainPen) Wait() (*os.ProcessState, error) {
	<-p.done
	if p.process == nil {
		return nil, errors.New("it was never started")
	}
	err := p.process.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return p.cmd.ProcessState, err
	}
	return p.cmd.ProcessState, nil
}

// Close ends it. What descends from it is first, as long as it is there to tell; it
// is stopped, so that it does not go on to exit with a command's code meanwhile.
func (p *plainPen) Close() error {
	p.mu.Lock()
	started := p.cmd != nil
	var err error
	if started && !p.reaped {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		err = procs.KillBelow(p.cmd.Process.Pid)
		_ = p.cmd.Process.Kill() // "already done" is what we want
	}
	if !started && !p.closed {
		close(p.done)
	}
	p.closed = true
	p.mu.Unlock()
	if started {
		<-p.done
	}
	return err
}
