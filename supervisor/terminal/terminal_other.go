//go:build !linux && !darwin

package terminal

import "os"

// Terminal passes the caller's streams on as they are on this system.
type Terminal struct{ files [3]*os.File }

// New returns a Terminal that changes nothing.
func New(in, out, errs *os.File) (*Terminal, error) {
	return &Terminal{[3]*os.File{in, out, errs}}, nil
}

// Files returns the caller's streams.
func (t *Terminal) Files() (in, out, errs *os.File) { return t.files[0], t.files[1], t.files[2] }

// Interactive returns false on this system.
func (*Terminal) Interactive() bool { return false }

// Raw returns false on this system.
func (*Terminal) Raw() bool { return false }

// Started does nothing on this system.
func (*Terminal) Started() error { return nil }

// Finish does nothing on this system.
func (*Terminal) Finish() {}
