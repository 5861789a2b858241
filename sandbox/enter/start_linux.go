package enter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
)

// Options say where a shim is put.
type Options struct {
	Self   string   // path of this program
	Target *os.File // pidfd of a process in the pen
	Cgroup bool     // the pen has a cgroup namespace of its own
	Shim   *os.File // the shim's end of its line
	Filter *os.File // the pen's seccomp filter, at its beginning
	Stdio  [3]*os.File
	Group  *os.File // control group's directory, or nil
}

// Entered is a role's process, which ends as its command does.
type Entered struct {
	cmd     *exec.Cmd
	process *donate.Process
	why     *os.File
}

// Start starts the role. All files stay the caller's.
func Start(o *Options) (*Entered, error) {
	namespaces := unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if o.Cgroup {
		namespaces |= unix.CLONE_NEWCGROUP
	}
	why, tell, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("enter the pen: %w", err)
	}
	defer tell.Close()
	e := &Entered{why: why, cmd: &exec.Cmd{
		Path: o.Self, Args: []string{"penstock", Role, strconv.Itoa(namespaces)}, Env: []string{"GOMAXPROCS=1", "GOGC=off"}, Dir: "/",
		Stdin: o.Stdio[0], Stdout: o.Stdio[1], Stderr: o.Stdio[2], ExtraFiles: []*os.File{o.Target, o.Shim, o.Filter, tell},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}}
	if o.Group != nil {
		e.cmd.SysProcAttr.UseCgroupFD, e.cmd.SysProcAttr.CgroupFD = true, int(o.Group.Fd())
	}
	if e.process, err = donate.Start(e.cmd, nil); err != nil {
		why.Close()
		return nil, fmt.Errorf("enter the pen: %w", err)
	}
	return e, nil
}

// PID is the role's process, of which the command is the only child.
func (e *Entered) PID() int { return e.cmd.Process.Pid }

// Why is the cause of a failure, once the shim's line has ended without a word; nil if
// the role knows none.
func (e *Entered) Why() error {
	b, err := io.ReadAll(io.LimitReader(e.why, 512))
	if err != nil || len(b) == 0 {
		return nil
	}
	return errors.New("enter the pen: " + strings.ToValidUTF8(string(b), "?"))
}

// Wait waits for the command's end and returns its exit code, 128+n for signal n.
func (e *Entered) Wait() int {
	e.process.Wait() //nolint:errcheck // the state says it
	ws, ok := e.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return e.cmd.ProcessState.ExitCode()
}

// Close kills the role, and the command with it, and waits for its end. It may be
// called twice.
func (e *Entered) Close() error {
	e.cmd.Process.Kill() //nolint:errcheck // it has ended
	<-e.process.Done()
	return e.why.Close()
}
