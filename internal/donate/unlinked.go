//go:build unix

package donate

import (
	"errors"
	"fmt"
	"os"
)

// unlinked is for systems without sealed memory files: a file in dir that has lost its
// name before anything is in it, and of which, on return, there is no descriptor but
// the one returned, which can't write. It is the owner's alone (0600): who has its
// name for the moment that it has one is a process of the same user, that could as
// well trace this one.
func unlinked(dir string, doc []byte) (*os.File, error) {
	w, err := os.CreateTemp(dir, ".penstock-config-")
	if err != nil {
		return nil, fmt.Errorf("create role configuration: %w", err)
	}
	r, err := os.Open(w.Name())
	if err = errors.Join(err, os.Remove(w.Name())); err == nil {
		err = same(w, r) // what was opened by the name has to be what was made
	}
	if err == nil {
		_, err = w.Write(doc)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close() // nil is fine
		return nil, fmt.Errorf("write role configuration: %w", err)
	}
	return r, nil
}

func same(a, b *os.File) error {
	one, err := a.Stat()
	if err != nil {
		return err
	}
	other, err := b.Stat()
	if err == nil && !os.SameFile(one, other) {
		err = errors.New("another file has taken its place")
	}
	return err
}
