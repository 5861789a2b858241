package audit

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

type lockMode uint32

const (
	lockShared    lockMode = 0
	lockExclusive lockMode = windows.LOCKFILE_EXCLUSIVE_LOCK
	lockTest      lockMode = windows.LOCKFILE_FAIL_IMMEDIATELY
)

// The lock is on a range that no file reaches, so that it hinders no reading.
const lockHigh = 0x7fffffff

func lock(f *os.File, how lockMode) (held bool, err error) {
	err = windows.LockFileEx(windows.Handle(f.Fd()), uint32(how), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockHigh})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) && how == lockTest {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockHigh})
}

const openFlags = 0

// Owners and access lists are not read: the default place is in the user's own
// profile.
func foreign(fs.FileInfo) bool { return false }
func exposed(fs.FileInfo) bool { return false }
