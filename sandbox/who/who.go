package who

import (
	"errors"
	"os"
)

// Pen says where to look.
type Pen struct {
	// Diag is a sock_diag socket of the pen's network namespace, Track one for
	// conntrack there (nil: nothing is redirected). New takes both over.
	Diag, Track *os.File
	// CapturePort is where redirected connections arrive, on 127.0.0.1 and ::1.
	CapturePort uint16
	// PIDNamespace is the inode of the pen's pid namespace, Init its first process.
	PIDNamespace uint64
	Init         int
	// Exact looks for every holder of a socket, so that Shared can be relied on.
	// It costs a look at every process of the pen.
	Exact bool
	// Hash waits for an executable's hash as long as the caller's context allows;
	// else a moment only (see hashGrace).
	Hash bool
}

// Why there is no answer.
var (
	ErrUnsupported = errors.New("find a connection's process: Linux only")
	ErrNoSocket    = errors.New("find a connection's process: the pen has no such socket any more")
	ErrGone        = errors.New("find a connection's process: no process of the pen that can be read holds its socket")
	ErrBusy        = errors.New("find a connection's process: too much to look through")
)
