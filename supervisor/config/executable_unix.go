//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// openExecutable does not wait for a FIFO's writer.
func openExecutable(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// identity returns the file's device as stat(2) encodes it, and its inode.
func identity(fi fs.FileInfo) (dev, ino uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(st.Dev), uint64(st.Ino)
}
