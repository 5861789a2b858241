package shim

import (
	"os"

	"golang.org/x/sys/unix"
)

// Conn is the supervisor's end of the line to one shim. Its methods are called
// in order, from one goroutine: Configure, WaitReady, Release, WaitExec. The
// supervisor closes it.
type Conn = streamed

// Process is the held shim, which becomes the command.
type Process struct {
	// Refused is how much of Config.Tries the shim says was refused.
	Refused int
}

// Pair makes a line. pen is the end to pass to the shim; the caller closes it
// once the pen has been started, or the end of the pen is never seen.
func Pair() (c *Conn, pen *os.File, err error) { return streamPair() }

func newPeer(fd int) peer { return frames(fd) }

// restrict has nothing to add: the profile holds since before this process was the shim.
func restrict(*Config) (ready message, err error) { return message{Kind: kindReady}, nil }

// most bounds the descriptors that are looked at.
const most = 1 << 18

// closeOthers makes all descriptors above 2 but keep end with execve. They can't be
// closed: the runtime's own are among them, and nothing tells which.
func closeOthers(keep int) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > most {
		limit.Cur = most
	}
	for fd := 3; fd < int(limit.Cur); fd++ {
		if fd != keep {
			unix.CloseOnExec(fd)
		}
	}
}
