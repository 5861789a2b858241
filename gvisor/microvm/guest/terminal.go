package guest

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// terminal makes one with the settings of the caller's.
func terminal(cmd *wire.Command) (master, slave *os.File, err error) {
	// Not waiting: it is read and written without a thread for each.
	fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("name the terminal: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open the terminal: %w", err)
	}
	if err := os.Chown(name, cmd.UID, cmd.GID); err != nil {
		return nil, nil, fmt.Errorf("give the terminal away: %w", err)
	}
	var t unix.Termios
	if len(cmd.Termios) == int(unsafe.Sizeof(t)) {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)), cmd.Termios)
		if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &t); err != nil {
			return nil, nil, fmt.Errorf("set the terminal up: %w", err)
		}
	}
	resize(master, cmd.Rows, cmd.Columns)
	return master, slave, nil
}

func resize(tty *os.File, rows, columns uint16) {
	raw, err := tty.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { //nolint:errcheck // it is closed
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}) //nolint:errcheck // then it has none
	})
}
