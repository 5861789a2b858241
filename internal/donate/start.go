//go:build unix

package donate

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a child. On Linux it dies when this process does, whatever kills that
// (prctl(2) PR_SET_PDEATHSIG); elsewhere a role has to see that for itself.
type Process struct {
	done chan struct{}
	err  error
}

// Start starts cmd. beforeReap, if it is not nil, is called when the child has
// ended and its number can't be another's yet.
//
// On Linux the child is born with no_new_privs, so that whoever takes it into care can
// rely on it at any moment. It is an attribute of the thread that forks, and the
// signal follows that thread too: so one is kept for the life of the child, and
// ends with it.
func Start(cmd *exec.Cmd, beforeReap func(pid int)) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Never unlocked: the runtime ends the thread with this goroutine.
		runtime.LockOSThread()
		err := bind(cmd)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		if beforeReap != nil {
			beforeReap(cmd.Process.Pid)
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Done is closed when the child has ended and is reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the child's end and returns what exec.Cmd.Wait did. It may be
// called any number of times, concurrently.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}
