package bwrap

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Error says why the tier can't be used and what to do about it.
type Error struct {
	Err error
	Fix string // one line
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Fix }

// systemPath is where distributions install programs; on NixOS root owns the
// links of the current system.
const systemPath = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin:/run/current-system/sw/bin"

// find returns the first bwrap on path that only root could have put there: it
// becomes the parent of everything and sees the whole set-up.
func find(path string) (string, error) {
	if path == "" {
		path = systemPath
	}
	var refused error
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		p := filepath.Join(dir, "bwrap")
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			continue
		}
		if err := ownedByRoot(real); err != nil {
			refused = errors.Join(refused, fmt.Errorf("use %s: %w", p, err))
			continue
		}
		return real, nil
	}
	if refused != nil {
		return "", &Error{Err: refused, Fix: "install the distribution's bubblewrap, owned by root"}
	}
	return "", &Error{
		Err: errors.New("find bwrap: bubblewrap is not installed"),
		Fix: "apt-get install bubblewrap (or dnf, pacman, apk: the package is called bubblewrap everywhere)",
	}
}
