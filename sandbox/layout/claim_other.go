//go:build !linux && !darwin

package layout

import (
	"errors"

	"github.com/penstock/penstock/sandbox"
)

// Claimed does not exist on this system.
type Claimed struct{}

// Claim returns an error on this system if there is something to claim.
func Claim(list []sandbox.Placeholder) (*Claimed, error) {
	if len(list) > 0 {
		return nil, errors.New("placeholders need Linux or macOS")
	}
	return &Claimed{}, nil
}

// Release does nothing on this system.
func (*Claimed) Release() error { return nil }
