package layout

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// createUnnamed makes a placeholder that is a file; false: there is no O_TMPFILE on
// this file system.
func createUnnamed(p sandbox.Placeholder) (done bool, err error) {
	fd, err := unix.Open(filepath.Dir(p.Path), unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return false, nil
	}
	defer unix.Close(fd)
	if err := fill(fd, p); err != nil {
		return true, err
	}
	return true, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, p.Path, unix.AT_SYMLINK_FOLLOW)
}
