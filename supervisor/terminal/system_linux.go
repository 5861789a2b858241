package terminal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The requests of ioctl_tty(2) for settings: read, write, write after what is on its way.
const (
	getTermios        = unix.TCGETS
	setTermios        = unix.TCSETS
	setTermiosDrained = unix.TCSETSW
)

// nullDevice is /dev/null's number.
func nullDevice() uint64 { return unix.Mkdev(1, 3) }

// wait waits until one of the descriptors is ready as asked for.
func wait(fds []unix.PollFd) error {
	_, err := unix.Poll(fds, -1)
	return err
}

// openPTY returns both ends of a new pseudo-terminal.
func openPTY() (master, slave *os.File, err error) {
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(m)
		return nil, nil, fmt.Errorf("unlock it: %w", err)
	}
	// By descriptor: a path could lead to another instance of devpts.
	s, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		unix.Close(m)
		return nil, nil, fmt.Errorf("open its other end: %w", errno)
	}
	master, slave = os.NewFile(uintptr(m), "pty-master"), os.NewFile(s, "pty-slave")
	// So that a pump never waits in write, where nothing ends it.
	unix.SetNonblock(m, true)
	return master, slave, nil
}
