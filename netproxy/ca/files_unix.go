//go:build unix

package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock takes the directory's lock, shared or exclusive, and returns what
// releases it. A file of its own is locked, not the directory: flock on NFS
// needs a descriptor that is open for writing to lock exclusively.
func lock(path string, exclusive bool) (func(), error) {
	flags, how := os.O_RDONLY, unix.LOCK_SH
	if exclusive {
		flags, how = os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	}
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// checkDir refuses a directory in which somebody else could replace the files.
func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return &Error{Path: dir, Err: err, Fix: "check the permissions above it"}
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		return &Error{Path: dir, Err: errors.New("it is a symbolic link"), Fix: "replace it by a directory, or set XDG_DATA_HOME"}
	case !fi.IsDir():
		return &Error{Path: dir, Err: errors.New("it is not a directory"), Fix: "remove it, or set XDG_DATA_HOME"}
	case fi.Mode().Perm()&0o022 != 0:
		return &Error{Path: dir, Err: fmt.Errorf("others may write to it (mode %04o)", fi.Mode().Perm()), Fix: "chmod 700 " + dir}
	}
	return checkOwner(dir, fi)
}

// openChecked opens a regular file of ours without following a symbolic link in
// its last component. What is checked is the open file, not the name.
func openChecked(path string, private bool) (*os.File, error) {
	// O_NONBLOCK: a FIFO planted there must not block the start.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, &Error{Path: path, Err: errors.New("it is a symbolic link"), Fix: "replace it by the file itself, or: penstock ca rotate"}
	}
	if err != nil {
		return nil, &Error{Path: path, Err: err, Fix: hintRotate}
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, &Error{Path: path, Err: err, Fix: hintRotate}
	}
	if !fi.Mode().IsRegular() {
		f.Close()
		return nil, &Error{Path: path, Err: errors.New("it is not a regular file"), Fix: hintRotate}
	}
	bad := fs.FileMode(0o022)
	if private {
		bad = 0o077
	}
	if fi.Mode().Perm()&bad != 0 {
		f.Close()
		if private {
			return nil, &Error{Path: path, Err: fmt.Errorf("others may read or write the private key (mode %04o)", fi.Mode().Perm()),
				Fix: "if nobody else can have read it: chmod 600 " + path + "; else: penstock ca rotate"}
		}
		return nil, &Error{Path: path, Err: fmt.Errorf("others may write to it (mode %04o)", fi.Mode().Perm()), Fix: "chmod 644 " + path}
	}
	if err := checkOwner(path, fi); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkOwner(path string, fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return &Error{Path: path, Err: fmt.Errorf("it belongs to uid %d, not to uid %d", st.Uid, os.Geteuid()),
			Fix: "run penstock as its owner, or set XDG_DATA_HOME to a directory of your own"}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return &Error{Path: dir, Err: err, Fix: "check the directory's permissions"}
	}
	defer f.Close()
	// Some file systems can't sync a directory; the files themselves are synced.
	_ = f.Sync()
	return nil
}

func inode(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
