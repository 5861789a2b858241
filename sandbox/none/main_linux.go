package none

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// Main is the role: it starts the shim and ends as the command does, 128+n for
// signal n. args are the caller's user and group id.
func Main(args []string) int {
	// The shim dies with the thread that has started it (prctl(2)).
	runtime.LockOSThread()
	// The supervisor holds the line's other end, and hears of the pen's end by this.
	unix.CloseOnExec(fdShim)
	unix.CloseOnExec(fdAlive)
	pid, err := start(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "penstock: start the command without a sandbox:", err)
		return exitBroken
	}
	unix.Close(fdShim)
	return await(pid)
}

// start starts the shim. Here we are root of the user namespace that owns the
// network; from its own the shim, and the command after it, can't reach up.
func start(args []string) (int, error) {
	if len(args) != 2 {
		return 0, errors.New("it is started by penstock itself")
	}
	uid, uerr := strconv.Atoi(args[0])
	gid, gerr := strconv.Atoi(args[1])
	if err := errors.Join(uerr, gerr); err != nil {
		return 0, err
	}
	// What the command leaves behind becomes ours: it is counted, and can be stopped.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become the parent of orphans: %w", err)
	}
	return syscall.ForkExec("/proc/self/exe", []string{"penstock", sandbox.ShimRole, strconv.Itoa(fdShim)}, &syscall.ProcAttr{
		Env:   environment(),
		Files: []uintptr{0, 1, 2, fdShim},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: 0, Size: 1}},
			// By which the shim gives up the bounding set, and this one with it.
			AmbientCaps: []uintptr{unix.CAP_SETPCAP},
			Pdeathsig:   syscall.SIGKILL,
		},
	})
}

// await reaps whatever ends, until the command does.
func await(command int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return exitBroken
		case pid == command && status.Exited():
			return status.ExitStatus()
		case pid == command && status.Signaled():
			return 128 + int(status.Signal())
		}
	}
}
