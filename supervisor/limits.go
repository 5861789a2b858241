//go:build linux || darwin

package supervisor

import (
	"fmt"

	"github.com/penstock/penstock/sandbox"
)

// limitError is a limit that was asked for and can't be enforced here.
type limitError struct {
	cap  sandbox.Capability
	from string
}

func (e *limitError) Error() string {
	return fmt.Sprintf("%s: the limit of %s can't be enforced here: %s", e.from, e.cap.Control, e.cap.Detail)
}

// Hint says how it could be.
func (e *limitError) Hint() string { return e.cap.Fix }
