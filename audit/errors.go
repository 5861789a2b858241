package audit

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by a Writer after Close.
var ErrClosed = errors.New("audit is closed")

// errTooLong is the cause when an event makes a line that no reader would take.
var errTooLong = errors.New("record is too long")

// errUnknownEvent is the cause when an Event is nil or not of this package.
var errUnknownEvent = errors.New("unknown event")

// WriteError says that a record is not in the audit. What it was about must not
// happen: the proxy denies.
type WriteError struct {
	Session string
	Err     error
}

func (e *WriteError) Error() string {
	return fmt.Sprintf("write audit record of session %s: %v", e.Session, e.Err)
}

func (e *WriteError) Unwrap() error { return e.Err }

// Hint says in one line what to do about it.
func (e *WriteError) Hint() string {
	return "requests are denied until the audit can be written; free space there or choose another place with --audit-dir"
}

// StoreError is a failure of the store of all sessions.
type StoreError struct {
	Op   string // "open", "lock", "create session in", …
	Path string
	Err  error
	Fix  string // one line, may be empty
}

func (e *StoreError) Error() string { return fmt.Sprintf("%s audit %s: %v", e.Op, e.Path, e.Err) }
func (e *StoreError) Unwrap() error { return e.Err }

// Hint says in one line what to do about it; empty if nothing is known.
func (e *StoreError) Hint() string { return e.Fix }
