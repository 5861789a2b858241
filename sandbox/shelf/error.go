package shelf

import "fmt"

// Error refuses something; Fix is one line on what to do.
type Error struct {
	Err error
	Fix string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Fix }

// Refuse makes an Error.
func Refuse(fix, format string, args ...any) error {
	return &Error{Err: fmt.Errorf(format, args...), Fix: fix}
}
