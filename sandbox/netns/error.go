package netns

import "fmt"

// Error says why the pen's network could not be built and what to do about it.
// Building stops at the first failed step; there is no weaker pen.
type Error struct {
	Step  Step
	Err   error  // what the kernel said
	Cause string // one line, for a person
	Fix   string // one line: a command, or a setting
}

func (e *Error) Error() string {
	return fmt.Sprintf("build the pen's network: %s: %v: %s", e.Step, e.Err, e.Cause)
}

// Unwrap returns what the kernel said.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns the fix.
func (e *Error) Hint() string { return e.Fix }
