//go:build !darwin

package darwin

import (
	"context"
	"errors"
	"os"

	"github.com/penstock/penstock/sandbox"
)

var errUnsupported = errors.New("tier darwin needs macOS")

// New returns an error on this system.
func New(Options) (*Backend, error) { return nil, errUnsupported }

// Probe returns an error on this system.
func (*Backend) Probe(context.Context) ([]sandbox.Capability, error) { return nil, errUnsupported }

// Command returns an error on this system.
func (*Backend) Command(*sandbox.Spec, *os.File, *os.File) (*sandbox.Command, error) {
	return nil, errUnsupported
}
