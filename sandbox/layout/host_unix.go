//go:build linux || darwin

package layout

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func (*machine) Writable(name string) bool { return unix.Access(name, unix.W_OK) == nil }

func (m *machine) Private(name string) bool {
	mode, err := m.Lstat(name)
	if err != nil {
		return false
	}
	others := fs.FileMode(0o004)
	if mode.IsDir() {
		others = 0o005
	}
	return mode&others != others && unix.Access(name, unix.R_OK) == nil
}

// openRegular opens a file of the work directory, which may be a pipe that
// blocks or a link to somewhere else.
func openRegular(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return os.NewFile(uintptr(fd), name), nil
}
