package reaper

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leftTime is how long what the child leaves may go on before everything is killed.
const leftTime = 3 * time.Second

// exitFailed is penstock's for what could not be started.
const exitFailed = 125

// First reports whether this process is to be init: it is process 1, and not as one of
// the roles that are that in a PID namespace of penstock's own making.
func First() bool { return os.Getpid() == 1 }

// Main starts program with the arguments argv and is init until that has ended. It
// returns the exit code for the container: the child's, or 128 and its signal's number.
func Main(program string, argv []string, stderr io.Writer) int {
	// Before there is a child, or a signal that comes at once is lost.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	// An engine may start this with SIGCHLD ignored, with which nobody can be waited for.
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)

	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: foreground()}
	child, err := os.StartProcess(program, argv, attr)
	if err != nil {
		fmt.Fprintf(stderr, "penstock: start %s: %v\n", program, err)
		return exitFailed
	}
	go func() {
		for s := range signals {
			if passed(s) {
				_ = child.Signal(s) // it may have ended just now
			}
		}
	}()

	var status *unix.WaitStatus
	var left <-chan time.Time
	for {
		ended, none := reap(child.Pid)
		if ended != nil {
			status = ended
			left = time.After(leftTime)
		}
		if none && status != nil {
			return exitCode(*status)
		}
		select {
		case <-children:
		case <-left:
			return exitCode(*status)
		}
	}
}

// passed tells which signals are the child's: not those about our own children, and of
// Go's scheduler, and of a terminal that we read nothing from.
func passed(s os.Signal) bool {
	switch s {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}

// foreground has the child be the terminal's foreground, if there is a terminal: what is
// typed is then for it alone, and not handed on by us a second time.
func foreground() *syscall.SysProcAttr {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return nil
	}
	return &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
}

// reap waits for all that has ended. It returns how child did, if it is among them, and
// whether there are no children any more.
func reap(child int) (status *unix.WaitStatus, none bool) {
	for {
		var s unix.WaitStatus
		pid, err := unix.Wait4(-1, &s, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR: //nolint:errorlint // an errno
			continue
		case err != nil:
			return status, true // ECHILD
		case pid == 0:
			return status, false
		case pid == child:
			status = &s
		}
	}
}

// exitCode is a shell's number for how a process ended.
func exitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
