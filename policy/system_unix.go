//go:build unix

package policy

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// systemProblems says why a file can't be the administrator's: taken for what is
// wrong with its owner or mode, or with a directory above it, so that others
// could have written it. The second list is what keeps users from reading it.
func systemProblems(path string, st *unix.Stat_t) (taken, unread []*Error) {
	fail := func(to *[]*Error, hint, format string, args ...any) {
		*to = append(*to, &Error{File: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	name := printable(path)
	mode := uint32(st.Mode) & 0o7777 // 16 bits on some systems
	if st.Uid != 0 {
		fail(&taken, "chown root "+name, "it belongs to user %d, and the administrator's policy is root's", st.Uid)
	}
	if mode&0o022 != 0 {
		fail(&taken, "chmod go-w "+name, "others than its owner can write it (mode %04o)", mode)
	}
	if mode&0o400 == 0 {
		fail(&taken, "chmod u+r "+name, "its owner can't read it (mode %04o), and a supervisor has no right beyond that", mode)
	}
	if mode&0o004 == 0 {
		fail(&unread, "chmod o+r "+name, "users can't read it (mode %04o), and no run of theirs starts without", mode)
	}
	for _, dir := range dirsAbove(path) {
		var d unix.Stat_t
		if err := unix.Stat(dir, &d); err != nil {
			fail(&taken, "", "directory %s: %v", printable(dir), err)
			continue
		}
		mode, shown := uint32(d.Mode)&0o7777, printable(dir)
		if d.Uid != 0 {
			fail(&taken, "chown root "+shown, "directory %s belongs to user %d, who can replace the file", shown, d.Uid)
		}
		// In a sticky directory only the file's owner can replace it.
		if mode&0o022 != 0 && mode&unix.S_ISVTX == 0 {
			fail(&taken, "chmod go-w "+shown, "others than root can write directory %s (mode %04o) and so replace the file", shown, mode)
		}
		if mode&0o001 == 0 {
			fail(&unread, "chmod o+x "+shown, "users can't reach it: directory %s has mode %04o", shown, mode)
		}
	}
	return taken, unread
}

// dirsAbove returns the directories that lead to a file, by the name that was
// given and by the one that its links lead to.
func dirsAbove(path string) (out []string) {
	seen := map[string]bool{}
	walk := func(p string) {
		for dir := filepath.Dir(p); !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			out = append(out, dir)
		}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	walk(abs)
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		walk(real)
	}
	return out
}

// checkSystem is systemProblems for an open file.
func checkSystem(path string, f *os.File) (taken, unread []*Error, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, nil, err
	}
	taken, unread = systemProblems(path, &st)
	return taken, unread, nil
}
