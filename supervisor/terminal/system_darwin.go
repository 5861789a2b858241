package terminal

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of tty(4) for settings: read, write, write after what is on its way.
const (
	getTermios        = unix.TIOCGETA
	setTermios        = unix.TIOCSETA
	setTermiosDrained = unix.TIOCSETAW
)

// nullDevice is /dev/null's number.
func nullDevice() uint64 { return unix.Mkdev(3, 2) }

// wait waits until one of the descriptors is ready as asked for. It is select(2):
// poll(2) of this system does not wait for every device.
func wait(fds []unix.PollFd) error {
	var in, out unix.FdSet
	most := 0
	for _, f := range fds {
		if int(f.Fd) >= unix.FD_SETSIZE {
			return fmt.Errorf("wait for descriptor %d: %w", f.Fd, unix.EBADF)
		}
		if f.Events&unix.POLLIN != 0 {
			in.Set(int(f.Fd))
		}
		if f.Events&unix.POLLOUT != 0 {
			out.Set(int(f.Fd))
		}
		most = max(most, int(f.Fd))
	}
	if _, err := unix.Select(most+1, &in, &out, nil, nil); err != nil {
		return err
	}
	for i, f := range fds {
		fds[i].Revents = 0
		if in.IsSet(int(f.Fd)) {
			fds[i].Revents |= unix.POLLIN
		}
		if out.IsSet(int(f.Fd)) {
			fds[i].Revents |= unix.POLLOUT
		}
	}
	return nil
}

// openPTY returns both ends of a new pseudo-terminal.
func openPTY() (master, slave *os.File, err error) {
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	fail := func(step string, err error) (*os.File, *os.File, error) {
		unix.Close(m)
		return nil, nil, fmt.Errorf("%s: %w", step, err)
	}
	if err := unix.IoctlSetInt(m, unix.TIOCPTYGRANT, 0); err != nil {
		return fail("take it", err)
	}
	if err := unix.IoctlSetInt(m, unix.TIOCPTYUNLK, 0); err != nil {
		return fail("unlock it", err)
	}
	var name [128]byte // _IOC_PARM_LEN(TIOCPTYGNAME)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(m), unix.TIOCPTYGNAME, uintptr(unsafe.Pointer(&name[0]))); errno != 0 {
		return fail("find its other end", errno)
	}
	path, _, _ := bytes.Cut(name[:], []byte{0})
	s, err := unix.Open(string(path), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("open its other end", err)
	}
	master, slave = os.NewFile(uintptr(m), "pty-master"), os.NewFile(uintptr(s), string(path))
	// So that a pump never waits in write, where nothing ends it.
	unix.SetNonblock(m, true)
	return master, slave, nil
}

// Name is the path of the pen's pseudo-terminal, until Started; "" if it has none.
func (t *Terminal) Name() string {
	if t.master == nil || len(t.own) == 0 {
		return ""
	}
	return t.own[0].Name()
}
