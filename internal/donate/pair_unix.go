//go:build unix

package donate

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// StreamPair makes the two ends of a connection. The second is for another process.
func StreamPair() (*net.UnixConn, *os.File, error) {
	// Where no socket is made close-on-exec (macOS), none may be inherited meanwhile.
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "our socket"), os.NewFile(uintptr(fds[1]), "their socket")
	defer ours.Close()
	nc, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	return nc.(*net.UnixConn), theirs, nil
}
