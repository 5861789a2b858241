//go:build unix

package packet

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Open makes a connection of a donated socket; it takes over f.
func Open(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("open socket: %T is no unix socket", nc)
	}
	return uc, nil
}

// StreamPair makes the two ends of a connection for a Stream each. The second is for
// another process.
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
	theirs := os.NewFile(uintptr(fds[1]), "their socket")
	ours, err := Open(os.NewFile(uintptr(fds[0]), "our socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
