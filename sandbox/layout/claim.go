package layout

import (
	"io/fs"
)

// A placeholder is known by its mode, which nobody uses otherwise: a directory
// without any write permission but with the sticky bit, a file likewise. So
// planning sees through those of another session without a ledger.
const (
	placeholderDir  = fs.ModeDir | fs.ModeSticky | 0o555
	placeholderFile = fs.ModeSticky | 0o444
)

// lstat is Host.Lstat, for which placeholders do not exist.
func (b *builder) lstat(p string) (fs.FileMode, error) {
	m, err := b.host.Lstat(p)
	if err != nil {
		return m, err
	}
	switch m {
	case placeholderDir:
		if names, err := b.host.ReadDir(p); err == nil && len(names) == 0 {
			return 0, fs.ErrNotExist
		}
	case placeholderFile:
		if text, err := b.host.ReadFile(p); err == nil && (len(text) == 0 || string(text) == here || string(text) == emptyJSON) {
			return 0, fs.ErrNotExist
		}
	}
	return m, nil
}
