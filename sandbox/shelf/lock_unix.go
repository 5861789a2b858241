//go:build unix

package shelf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the lock of an item's directory without waiting. It goes with the
// descriptor, so with whoever is killed. Who makes the directory makes the lock.
func lock(root *os.Root, dir string, make bool) (*os.File, error) {
	flags := os.O_RDWR
	if make {
		flags |= os.O_CREATE | os.O_EXCL
	}
	name := dir + "/" + LockFile
	f, err := root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	// Whoever had it before may have removed the directory.
	ours, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = root.Lstat(name); err == nil && !os.SameFile(ours, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockAll waits for the lock of the whole shelf, which is held for moments: while
// directories come and go.
func lockAll(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile("."+LockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}
