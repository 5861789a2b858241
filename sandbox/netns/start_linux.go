package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"golang.org/x/sys/unix"
)

// Building is a pen's first process: the role that builds the network, and
// after that, under the same process id, the next command. Its methods may be
// called concurrently; Wait may be called any number of times.
type Building struct {
	cmd     *exec.Cmd
	control *net.UnixConn

	once    sync.Once
	sockets *Sockets
	err     error // of the sockets

	process *donate.Process
}

// Start is Prepare and Execute.
func Start(self string, next *sandbox.Command, stdio [3]*os.File, o Options) (*Building, error) {
	b, err := Prepare(self, stdio, o)
	if err != nil {
		return nil, err
	}
	if err := b.Execute(next); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Prepare starts self as role:netns in new user and network namespaces, with
// stdio as its standard descriptors (nil: /dev/null). The role builds the
// network at once and then waits for Execute, so that what is to run can be
// planned meanwhile. Prepare returns when the process exists; what becomes of it
// is told by Sockets, Executed and Wait. The caller keeps owning stdio, and may
// close it on return.
//
// The process gets SIGKILL when the caller's process dies, see donate.Start.
func Prepare(self string, stdio [3]*os.File, o Options) (*Building, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, failed(StepNamespace, err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	ours := os.NewFile(uintptr(pair[0]), "control")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, failed(StepNamespace, err)
	}
	b := &Building{control: conn.(*net.UnixConn)}
	extra, err := extraFiles(theirs, o)
	if err != nil {
		b.control.Close()
		return nil, err
	}
	defer extra[0].Close()

	b.cmd = &exec.Cmd{
		Path:       self,
		Args:       []string{self, Role},
		Env:        []string{"GOMAXPROCS=1", "GOGC=off"}, // a few milliseconds' life
		ExtraFiles: extra,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			GidMappingsEnableSetgroups: false, // or a group could be dropped that a file's mode denies (CVE-2014-8989)
			// A group of its own, see endGroup; and what a terminal sends to the
			// caller's group is the caller's to pass on.
			Setpgid: true,
		},
	}
	if stdio[0] != nil {
		b.cmd.Stdin = stdio[0]
	}
	if stdio[1] != nil {
		b.cmd.Stdout = stdio[1]
	}
	if stdio[2] != nil {
		b.cmd.Stderr = stdio[2]
	}
	if o.Cgroup != nil {
		b.cmd.SysProcAttr.UseCgroupFD = true
		b.cmd.SysProcAttr.CgroupFD = int(o.Cgroup.Fd())
	}
	if b.process, err = donate.Start(b.cmd, func(pid int) {
		endGroup(pid)
		if o.Ended != nil {
			o.Ended()
		}
	}); err != nil {
		b.control.Close()
		return nil, failed(StepNamespace, err)
	}
	return b, nil
}

// endGroup waits for the end of the pen's first process and kills what it left
// in its process group. A bwrap that is killed while its child waits for it to
// go on leaves that child waiting for ever: it has not asked yet to die with its
// parent. The first process is not reaped here, so its number, which is the
// group's, can't have become another's.
func endGroup(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR { //nolint:errorlint // an errno
	}
	unix.Kill(-pid, unix.SIGKILL) //nolint:errcheck // mostly there is nobody else
}

// extraFiles donates the configuration, and fills the reserved numbers.
func extraFiles(control *os.File, o Options) ([]*os.File, error) {
	extra, err := donate.Files(&roleConfig{Publish: o.Publish, Steered: o.Steered, Attribute: o.Attribute}, map[string]*os.File{"control": control})
	if err != nil {
		return nil, fmt.Errorf("build the pen's network: %w", err)
	}
	for len(extra) < reservedFiles {
		extra = append(extra, extra[0])
	}
	return extra, nil
}

// Execute tells the role what to become when the network is built. next.Files
// stay the caller's and may be closed on return. It is called once.
func (b *Building) Execute(next *sandbox.Command) error {
	doc, err := json.Marshal(&nextCommand{Path: next.Path, Argv: next.Argv, Env: next.Env, FirstFile: next.FirstFile, Root: next.Root})
	switch {
	case err != nil:
	case len(doc) > nextSize:
		err = fmt.Errorf("command line of %d bytes", len(doc))
	case len(next.Files) > 0 && next.FirstFile < 3 || next.FirstFile+len(next.Files) > 3+reservedFiles:
		err = fmt.Errorf("%d files from number %d", len(next.Files), next.FirstFile)
	}
	if err != nil {
		return fmt.Errorf("start the sandbox: %w", err)
	}
	fds := make([]int, len(next.Files))
	for i, f := range next.Files {
		fds[i] = int(f.Fd())
	}
	_, _, err = b.control.WriteMsgUnix(doc, unix.UnixRights(fds...), nil)
	runtime.KeepAlive(next)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil // the role has ended: Sockets says why
	}
	if err != nil {
		return fmt.Errorf("start the sandbox: %w", err)
	}
	return nil
}

// Sockets waits until the network is built and returns its sockets, which are
// the caller's from then on. The error, if any, is an *Error with cause and
// fix. A second call returns the same.
func (b *Building) Sockets(ctx context.Context) (*Sockets, error) {
	b.once.Do(func() {
		stop := context.AfterFunc(ctx, func() { b.control.Close() })
		defer stop()
		b.sockets, b.err = ReceiveSockets(b.control)
		if b.err == nil {
			return
		}
		if ctx.Err() != nil {
			b.err = fmt.Errorf("build the pen's network: %w", ctx.Err())
			return
		}
		var se *stepError
		switch {
		case errors.As(b.err, &se):
			b.err = failed(se.Step, se.Err)
		case errors.Is(b.err, io.EOF):
			b.err = failed(StepReceive, errors.New("the builder ended without a word"))
		}
	})
	return b.sockets, b.err
}

// Executed waits, after Sockets, until the next command runs in place of the
// builder. It returns nil then, or why it could not be executed.
func (b *Building) Executed(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { b.control.Close() })
	defer stop()
	f, files, err := readFrame(b.control)
	closeAll(files)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("start the sandbox: %w", ctx.Err())
	case errors.Is(err, io.EOF):
		return nil // close-on-exec: the command runs
	case err != nil:
		return fmt.Errorf("start the sandbox: %w", err)
	}
	return fmt.Errorf("start the sandbox: %w", frameError(f))
}

// Process is the pen's first process. It is reaped by itself: use Wait, not
// Process.Wait.
func (b *Building) Process() *os.Process { return b.cmd.Process }

// Done is closed when the pen's first process has ended and is reaped.
func (b *Building) Done() <-chan struct{} { return b.process.Done() }

// Wait waits for the end of the pen's first process.
func (b *Building) Wait() (*os.ProcessState, error) {
	err := b.process.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return b.cmd.ProcessState, err
	}
	return b.cmd.ProcessState, nil
}

// Close kills the pen's first process, if it still runs, and waits for its end.
// It leaves the sockets to their owner. It may be called twice.
func (b *Building) Close() error {
	b.control.Close()
	_ = b.cmd.Process.Kill() // "already done" is what we want
	<-b.process.Done()
	return nil
}
