package darwin

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Host answers about the machine's files. layout.OS is one.
type Host interface {
	Lstat(name string) (fs.FileMode, error)
	Readlink(name string) (string, error)
	ReadDir(name string) ([]string, error) // names
}

// Error says why a Spec can't be kept by a profile, and what to do about it.
type Error struct {
	Err error
	Fix string // one line
}

func (e *Error) Error() string { return "tier darwin: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Fix }

func refuse(fix, format string, args ...any) error {
	return &Error{Err: fmt.Errorf(format, args...), Fix: fix}
}

// paths finds what the kernel calls a path. It looks at each directory once.
type paths struct {
	host  Host
	names map[string][]string
	links []string // that were followed
}

// canonical returns the path as the kernel names what is there: without links, each name
// as it is on disk. What is missing keeps its name, and exists is false.
func (p *paths) canonical(given string) (real string, exists bool, err error) {
	if !path.IsAbs(given) || path.Clean(given) != given {
		return "", false, refuse("give an absolute path without . and ..", "%q is no path of a pen", given)
	}
	real, exists = "/", true
	rest := strings.Split(strings.TrimPrefix(given, "/"), "/")
	if given == "/" {
		return real, true, nil
	}
	for hops := 0; len(rest) > 0; {
		next := path.Join(real, rest[0])
		rest = rest[1:]
		mode, err := p.host.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			real, exists = path.Join(append([]string{next}, rest...)...), false
			return real, exists, p.fits(real)
		case err != nil:
			return "", false, refuse("name what you may look at", "look at %q: %w", next, err)
		}
		if err := p.spelled(next); err != nil {
			return "", false, err
		}
		if mode&fs.ModeSymlink == 0 {
			real = next
			continue
		}
		// The root directory is the system's, and sealed: /tmp, /var and /etc say
		// private/…. Any other link could be somebody's.
		text, err := p.host.Readlink(next)
		if hops++; err != nil || real != "/" || hops > 1 {
			return "", false, refuse("name what it leads to", "%q leads over the symbolic link %q", given, next)
		}
		if !slices.Contains(p.links, next) {
			p.links = append(p.links, next)
		}
		text = path.Join("/", text)
		if text == "/" {
			return "", false, refuse("name what it leads to", "%q leads over the symbolic link %q to the root", given, next)
		}
		rest = append(strings.Split(strings.TrimPrefix(text, "/"), "/"), rest...)
	}
	return real, exists, p.fits(real)
}

// fits holds what links made longer with what can be written.
func (p *paths) fits(real string) error {
	if _, err := quote(real); err != nil {
		return refuse("rename it, or leave it out", "%w", err)
	}
	return nil
}

// spelled refuses a name that is not the one on disk, which rules would not match.
func (p *paths) spelled(name string) error {
	dir := path.Dir(name)
	names, ok := p.names[dir]
	if !ok {
		var err error
		if names, err = p.host.ReadDir(dir); err != nil {
			return refuse("name what you may look at", "list %q: %w", dir, err)
		}
		p.names[dir] = names
	}
	if !slices.Contains(names, path.Base(name)) {
		return refuse("write it as it is on disk", "%q is there by another spelling", name)
	}
	return nil
}
