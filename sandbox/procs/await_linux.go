package procs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Await reaps whatever of the calling process's children ends, until child does, and
// returns the exit code that says how, 128+n for signal n; broken if that can't be told.
func Await(child, broken int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return broken
		case pid == child && status.Exited():
			return status.ExitStatus()
		case pid == child && status.Signaled():
			return 128 + int(status.Signal())
		}
	}
}
