package world

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// marker is set in the environment of the process that runs inside the namespaces.
const marker = "PENSTOCK_WORLD"

// rig is the one network of a test process. It is built by Main and lives until
// the process ends; World values are views of it.
var rig *network

// Main runs the tests in the namespaces of the rig and returns the exit status
// for os.Exit. Where namespaces are refused the tests that call New are
// skipped, or fail when CI=true.
func Main(m *testing.M) int {
	if os.Getenv(marker) != "" {
		n, err := build()
		if err != nil {
			fmt.Fprintln(os.Stderr, "world: build namespaces:", err)
			return 1
		}
		rig = n
		defer n.close()
		return m.Run()
	}
	code, err := reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, "world: no namespaces here, so no private internet:", err)
		return m.Run()
	}
	return code
}

// rigCaps are what the rig itself needs inside its namespaces. Commands under
// test get none of them: see start.
var rigCaps = []uintptr{
	unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN,
	unix.CAP_SETPCAP, unix.CAP_DAC_OVERRIDE, unix.CAP_KILL, unix.CAP_SYS_PTRACE,
}

func reexec() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find test binary: %w", err)
	}
	// Pdeathsig follows the thread that forked, not the process (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		// Without root's id in the namespace capabilities survive exec only as
		// ambient ones (capabilities(7)).
		attr.AmbientCaps = rigCaps
	}
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in new namespaces: %w", err)
	}
	// go test interrupts and times out by signal: the inner process prints its
	// own goroutine dump, so it must get it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	signal.Stop(signals)
	close(signals)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if exit.ExitCode() >= 0 {
			return exit.ExitCode(), nil
		}
		return 2, nil
	default:
		return 0, fmt.Errorf("wait for tests: %w", err)
	}
}
