package daemonctl

// Error is what the daemon refused something with, or why it can't be reached.
type Error struct {
	Text string
	hint string
	err  error // cause on this side, nil if the daemon said it
}

func (e *Error) Error() string { return e.Text }

// Hint is what to do about it, "" if that isn't known.
func (e *Error) Hint() string { return e.hint }

func (e *Error) Unwrap() error { return e.err }
