//go:build unix

package settings

import (
	"io/fs"
	"os"
	"syscall"
)

// trusted tells whether nobody but root (or, in tests, this process's user) can
// have written the file.
func trusted(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) && fi.Mode().Perm()&0o022 == 0
}
