package none

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/procs"
)

// Main is the role: it starts the shim and ends as the command does, 128+n for
// signal n. args are the caller's user and group id, and plain where it applies.
func Main(args []string) int {
	// The shim dies with the thread that has started it (prctl(2)).
	runtime.LockOSThread()
	// The supervisor holds the line's other end, and hears of the pen's end by this.
	unix.CloseOnExec(fdShim)
	unix.CloseOnExec(fdAlive)
	alone := len(args) == 3 && args[2] == plain
	told := make(chan os.Signal, 1)
	if alone {
		// There is no namespace that tells what is the command's, only descent, for
		// which this process is needed: the supervisor's death must not be its own at
		// once (donate.Start).
		signal.Notify(told, syscall.SIGTERM)
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
			fmt.Fprintln(os.Stderr, "penstock: start the command without a sandbox:", err)
			return exitBroken
		}
	}
	pid, err := start(args, alone)
	if err != nil {
		fmt.Fprintln(os.Stderr, "penstock: start the command without a sandbox:", err)
		return exitBroken
	}
	unix.Close(fdShim)
	if !alone {
		return procs.Await(pid, exitBroken)
	}
	ended := make(chan int, 1)
	go func() { ended <- procs.Await(pid, exitBroken) }()
	code := 128 + int(syscall.SIGTERM)
	select {
	case code = <-ended:
	case <-told:
	}
	if err := procs.KillBelow(os.Getpid()); err != nil {
		fmt.Fprintln(os.Stderr, "penstock: WARNING:", err)
	}
	return code
}

// start starts the shim. Here we are root of the user namespace that owns the
// network, unless alone; from its own the shim, and the command after it, can't reach
// up.
func start(args []string, alone bool) (int, error) {
	if len(args) != 2 && !alone {
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
	sys := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !alone {
		sys.Cloneflags = unix.CLONE_NEWUSER
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: 0, Size: 1}}
		// By which the shim gives up the bounding set, and this one with it.
		sys.AmbientCaps = []uintptr{unix.CAP_SETPCAP}
	}
	return syscall.ForkExec("/proc/self/exe", []string{"penstock", sandbox.ShimRole, strconv.Itoa(fdShim)}, &syscall.ProcAttr{
		Env: environment(), Files: []uintptr{0, 1, 2, fdShim}, Sys: sys,
	})
}
