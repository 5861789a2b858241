//go:build unix

package policy

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openRegular opens a regular file for reading. O_NONBLOCK keeps a FIFO, that a
// hostile repository may hold in the policy's place, from blocking the open.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", printable(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkOwner refuses a file that others than its owner could have written, or
// whose owner is neither the caller nor root.
func checkOwner(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&0o002 != 0 {
		return fmt.Errorf("everyone can write it; chmod o-w %s", printable(f.Name()))
	}
	if uid := os.Geteuid(); st.Uid != 0 && int(st.Uid) != uid && uid != 0 {
		return fmt.Errorf("it belongs to user %d, neither root nor the caller", st.Uid)
	}
	return nil
}

// lockFile takes an exclusive lock that lasts until the returned function is
// called. It waits for the other holder.
func lockFile(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
