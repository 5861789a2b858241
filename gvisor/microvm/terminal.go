package main

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// terminal is the pen's, if the command has one: what is typed is for the guest's.
type terminal struct {
	fd     int
	before *unix.Termios // nil: there is none
}

// open finds the terminal among the streams, and tells the guest how it is set up.
func open(wanted bool, c *wire.Command) (*terminal, error) {
	t := &terminal{fd: -1}
	if !wanted {
		return t, nil
	}
	for i := range c.Terminal {
		before, err := unix.IoctlGetTermios(i, unix.TCGETS)
		if err != nil {
			continue
		}
		c.Terminal[i] = true
		if t.before == nil {
			t.fd, t.before = i, before
		}
	}
	if t.before == nil {
		return t, nil
	}
	c.Termios = append(c.Termios, unsafe.Slice((*byte)(unsafe.Pointer(t.before)), unsafe.Sizeof(*t.before))...)
	c.Rows, c.Columns, _ = t.size()
	return t, nil
}

// raw has the pen's terminal pass everything on as it is: keys and their meaning are
// the guest's terminal's.
func (t *terminal) raw() {
	if t.before == nil {
		return
	}
	r := *t.before
	r.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	r.Oflag &^= unix.OPOST
	r.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	r.Cflag = r.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	r.Cc[unix.VMIN], r.Cc[unix.VTIME] = 1, 0
	unix.IoctlSetTermios(t.fd, unix.TCSETS, &r) //nolint:errcheck // then keys mean something twice
}

func (t *terminal) restore() {
	if t.before != nil {
		unix.IoctlSetTermios(t.fd, unix.TCSETSW, t.before) //nolint:errcheck // the pen is over
	}
}

func (t *terminal) size() (rows, columns uint16, ok bool) {
	if t.before == nil {
		return 0, 0, false
	}
	w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return w.Row, w.Col, true
}
