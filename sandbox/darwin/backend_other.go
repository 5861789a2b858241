//go:build !darwin

package darwin

import (
	"context"
	"errors"

	"github.com/penstock/penstock/sandbox"
)

var errUnsupported = errors.New("tier darwin needs macOS")

// New returns an error on this system.
func New(Options) (*Backend, error) { return nil, errUnsupported }

// Probe returns an error on this system.
func (*Backend) Probe(context.Context) ([]sandbox.Capability, error) { return nil, errUnsupported }
