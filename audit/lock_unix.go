//go:build unix

package audit

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockMode says how a file is locked. A lock belongs to the open file, so a
// descriptor handed to another process holds it too, until the last is closed.
type lockMode int

const (
	lockShared    lockMode = unix.LOCK_SH
	lockExclusive lockMode = unix.LOCK_EX
	lockTest      lockMode = unix.LOCK_SH | unix.LOCK_NB
)

// lock waits for the lock, but with lockTest. held is false if lockTest found it taken.
func lock(f *os.File, how lockMode) (held bool, err error) {
	for {
		err = unix.Flock(int(f.Fd()), int(how))
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK) && how == lockTest:
			return false, nil
		default:
			return false, err
		}
	}
}

func unlock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// openFlags keep an open from following a link in the last component and from
// waiting on a FIFO that somebody put there.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// foreign reports whether somebody else than the caller or root owns the file.
func foreign(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Uid != 0 && int(st.Uid) != os.Geteuid()
}

// exposed reports whether others may put files into the directory.
func exposed(fi fs.FileInfo) bool { return fi.Mode().Perm()&0o022 != 0 }
