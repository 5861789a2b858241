package ca

import "fmt"

// Error is a failure that the user can do something about.
type Error struct {
	Path string // file or directory concerned
	Err  error  // cause
	Fix  string // what to do about it, one line
}

// Error returns the cause with its path, on one line.
func (e *Error) Error() string { return fmt.Sprintf("use certificate authority %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what the user can do, one line.
func (e *Error) Hint() string { return e.Fix }

const hintRotate = "make a new authority with: penstock ca rotate"
