package shim

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrNoShim says that the pen ended before its first process was ready.
var ErrNoShim = errors.New("wait for shim: the pen could not be built")

// ExecError says why a command does not run.
type ExecError struct {
	Step  string // what the shim was doing
	Name  string // the command, or what Step was about
	Errno syscall.Errno
	Text  string // in the shim's words, if it is not an errno
}

func (e *ExecError) Error() string {
	cause := e.Text
	if e.Errno != 0 {
		cause = e.Errno.Error()
	}
	if e.Name == "" {
		return fmt.Sprintf("%s: %s", e.Step, cause)
	}
	return fmt.Sprintf("%s %q: %s", e.Step, e.Name, cause)
}

// Unwrap returns the system's error.
func (e *ExecError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// ExitCode is what a shell returns for it: 127 for a command that is not there,
// 126 for one that can't be executed, 125 for everything before.
func (e *ExecError) ExitCode() int {
	switch {
	case e.Step != stepExec:
		return 125
	case e.Errno == syscall.ENOENT || e.Errno == syscall.ENOTDIR:
		return 127
	}
	return 126
}

// failure makes the error of a failed message. Its words come from the pen:
// whoever prints them escapes them, and %q above does.
func (m message) failure() error {
	e := &ExecError{Step: m.Step, Name: m.Text, Errno: syscall.Errno(m.Errno)}
	switch m.Step {
	case stepOrders, stepLimits, stepSession, stepDir, stepConfine, stepExec:
	default:
		e.Step = "start command"
	}
	if m.Errno <= 0 {
		e.Errno, e.Name, e.Text = 0, "", fmt.Sprintf("%q", m.Text)
	}
	return e
}
