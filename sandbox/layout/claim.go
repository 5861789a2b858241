package layout

import (
	"io/fs"
)

// looksLike says whether a mode is that of a placeholder: sticky, without any
// write permission, which nobody uses otherwise. So planning sees through those
// of another session without a ledger. The caller's umask may have taken more.
func looksLike(m fs.FileMode) bool {
	return m.Type()&^fs.ModeDir == 0 && m&(fs.ModeSetuid|fs.ModeSticky) == fs.ModeSticky &&
		m.Perm()&0o222 == 0 && m.Perm()&0o400 != 0
}

// lstat is Host.Lstat, for which placeholders do not exist.
func (b *builder) lstat(p string) (fs.FileMode, error) {
	m, err := b.host.Lstat(p)
	if err != nil {
		return m, err
	}
	switch {
	case !looksLike(m):
	case m.IsDir():
		if names, err := b.host.ReadDir(p); err == nil && len(names) == 0 {
			return 0, fs.ErrNotExist
		}
	default:
		if text, err := b.host.ReadFile(p); err == nil && (len(text) == 0 || string(text) == here || string(text) == emptyJSON) {
			return 0, fs.ErrNotExist
		}
	}
	return m, nil
}
