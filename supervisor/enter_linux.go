package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox/enter"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/supervisor/execctl"
)

// entered is a further command whose first process was put into the pen from outside.
type entered struct {
	s       *session
	role    *enter.Entered
	line    *shim.Conn
	command *process
	began   bool
}

// filtered is a tier in whose pens a process can be put: it says what filter they have.
type filtered interface{ Filter() ([]byte, error) }

// enterPen puts a command into the pen, compares it with what the session's own was
// compared with, and releases it.
func (s *session) enterPen(start *execctl.Start, files [3]*os.File) (_ conversation, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	x := &entered{s: s}
	defer func() {
		if err != nil {
			x.Close()
		}
	}()
	if err := x.start(start, files); err != nil {
		return nil, err
	}
	ready, err := x.line.WaitReady(ctx)
	if err != nil {
		if errors.Is(err, shim.ErrNoShim) {
			if why := x.role.Why(); why != nil {
				return nil, why
			}
			return nil, errors.New("enter the pen: something in it has ended the command before it ran")
		}
		return nil, err
	}
	if x.command, err = openProcess(ready.PID); err != nil {
		return nil, err
	}
	var stdio [3]posture.FileID
	for i, f := range files {
		if stdio[i], err = posture.Identify(f); err != nil {
			return nil, err
		}
	}
	if err := s.compareFurther(ready, stdio); err != nil {
		var differs posture.Mismatch
		if errors.As(err, &differs) {
			s.violation(ctx, err)
		}
		return nil, err
	}
	return x, s.monitor.running(x.line.Release)
}

// start starts the role and gives the shim its orders.
func (x *entered) start(start *execctl.Start, files [3]*os.File) error {
	s := x.s
	program, err := s.backend.(filtered).Filter()
	if err != nil {
		return err
	}
	filter, err := donate.Fixed(program)
	if err != nil {
		return err
	}
	defer filter.Close()
	line, end, err := shim.Pair()
	if err != nil {
		return err
	}
	defer end.Close()
	x.line = line
	orders := s.shimConfig()
	orders.Argv, orders.Env, orders.Dir, orders.Terminal = start.Argv, start.Env, start.Dir, start.Terminal
	if err := line.Configure(orders); err != nil {
		return err
	}
	// A number of its own: the session's is closed when that ends.
	fd, err := unix.FcntlInt(uintptr(s.tool.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	target := os.NewFile(uintptr(fd), "the session's command")
	defer target.Close()
	o := &enter.Options{Self: s.cfg.Host.Self, Target: target, Cgroup: s.seen.Namespaces.Cgroup != s.expect.Ours.Cgroup, Shim: end, Filter: filter, Stdio: files}
	if s.group != nil {
		o.Group = s.group.File()
	}
	if x.role, err = enter.Start(o); err != nil {
		return err
	}
	s.further.add(x.role.PID())
	return nil
}

// compareFurther reads the held shim back. It is not below the pen's first process, but
// in all else it is to be what the session's own was.
func (s *session) compareFurther(ready shim.Process, stdio [3]posture.FileID) error {
	seen, err := posture.ReadBeside(ready.PID, s.seen.Parent)
	if err != nil {
		return err
	}
	e := *s.expect
	e.Control, e.Given, e.Stdio = ready.Socket, nil, stdio
	if err := posture.Check(&e, seen); err != nil {
		return err
	}
	return posture.Same(s.seen, seen)
}

// Signal hands a signal to the command.
func (x *entered) Signal(signo int) { x.command.signal(syscall.Signal(signo)) }

// Next waits for what there is to say next: that it runs or why not, how it ended.
func (x *entered) Next() (*execctl.Message, error) {
	if x.began {
		return &execctl.Message{Ended: &execctl.Ended{Code: x.role.Wait()}}, nil
	}
	x.began = true
	err := x.line.WaitExec(context.Background())
	var not *shim.ExecError
	if errors.As(err, &not) {
		return &execctl.Message{Failed: &execctl.Failed{Text: not.Error(), Code: not.ExitCode()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("start the command: %w", err)
	}
	return &execctl.Message{Started: true}, nil
}

// Close ends the command.
func (x *entered) Close() error {
	if x.role != nil {
		x.role.Close()
		x.s.further.remove(x.role.PID())
	}
	if x.command != nil {
		x.command.close()
	}
	if x.line != nil {
		x.line.Close()
	}
	return nil
}
