//go:build linux || darwin

package shim

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// held tries what has to be refused here, and counts it. Only a refusal is one: a file
// that is not there, or a port at which nobody listens, says that nothing held it back.
func (t *Tries) held() (n int, err error) {
	if t == nil {
		return 0, nil
	}
	for _, name := range t.Open {
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY} {
			fd, err := retry(func() (int, error) { return unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0) })
			if err == nil {
				unix.Close(fd)
			}
			if !refused(err) {
				return n, fmt.Errorf("a file that is hidden was not refused (%s): %w", how(flags), outcome(err))
			}
			n++
		}
	}
	for _, a := range t.Connect {
		if err := connect(a); !refused(err) {
			return n, fmt.Errorf("a connection to elsewhere than the proxy was not refused: %w", outcome(err))
		}
		n++
	}
	return n, nil
}

func refused(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// errDone is the outcome of what should have failed.
var errDone = errors.New("it was done")

func outcome(err error) error {
	if err == nil {
		return errDone
	}
	return err
}

func how(flags int) string {
	if flags == unix.O_RDONLY {
		return "read"
	}
	return "write"
}

// connect makes a TCP connection, with bare system calls as all of this role.
func connect(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}
