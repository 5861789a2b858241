//go:build !unix

package ca

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// lock keeps others out by a file that only one can create. There is no shared
// lock here: readers need none, because a rename is atomic and a mismatch of
// key and certificate is an error at New.
func lock(path string, exclusive bool) (func(), error) {
	if !exclusive {
		return func() {}, nil
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			return func() { os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// checkDir and openChecked can't judge owners and modes here: the profile
// directory of Windows is the user's own by its access control list.
func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return &Error{Path: dir, Err: err, Fix: "check the permissions above it"}
	}
	if !fi.IsDir() {
		return &Error{Path: dir, Err: errors.New("it is not a directory"), Fix: "remove it, or set XDG_DATA_HOME"}
	}
	return nil
}

func openChecked(path string, _ bool) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, &Error{Path: path, Err: err, Fix: hintRotate}
	}
	if !fi.Mode().IsRegular() {
		return nil, &Error{Path: path, Err: errors.New("it is not a regular file"), Fix: hintRotate}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{Path: path, Err: err, Fix: hintRotate}
	}
	return f, nil
}

func syncDir(string) error { return nil }

func inode(fs.FileInfo) uint64 { return 0 }
