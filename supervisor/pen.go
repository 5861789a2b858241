//go:build linux || darwin

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

var _ pen = (*plainPen)(nil)

// plainPen is a command's first process where there are no namespaces: nothing is
// built, so nothing is started before it is executed.
type plainPen struct {
	stdio [3]*os.File
	attr  *syscall.SysProcAttr
	rest  func(pid int) error // ends what it has left, before its number can be another's; may be nil
	left  error               // of rest; read after done

	mu      sync.Mutex
	cmd     *exec.Cmd
	process *donate.Process
	reaped  bool // its number may be another's
	closed  bool
	done    chan struct{}
}

// newPlainPen prepares one that is started with attr, and at whose end rest is called.
func newPlainPen(stdio [3]*os.File, attr *syscall.SysProcAttr, rest func(pid int) error) *plainPen {
	return &plainPen{stdio: stdio, attr: attr, rest: rest, done: make(chan struct{})}
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
		SysProcAttr: p.attr,
	}
	var err error
	p.process, err = donate.Start(p.cmd, func(pid int) {
		waitEnded(pid)
		if p.rest != nil {
			p.left = p.rest(pid)
		}
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
