//go:build !linux

package bwrap

import (
	"context"
	"errors"
	"os"

	"github.com/penstock/penstock/sandbox"
)

// Backend does not exist on this system.
type Backend struct{}

var _ sandbox.Backend = (*Backend)(nil)

var errUnsupported = errors.New("bubblewrap needs Linux")

// New returns an error on this system.
func New(string) (*Backend, error) { return nil, errUnsupported }

// Name returns "bwrap".
func (*Backend) Name() string { return "bwrap" }

// Any returns true.
func (*Backend) Any() bool { return true }

// Path returns nothing on this system.
func (*Backend) Path() string { return "" }

// Probe returns an error on this system.
func (*Backend) Probe(context.Context) ([]sandbox.Capability, error) { return nil, errUnsupported }

// Command returns an error on this system.
func (*Backend) Command(*sandbox.Spec, *os.File, *os.File) (*sandbox.Command, error) {
	return nil, errUnsupported
}

// Capabilities are none on this system.
func (*Backend) Capabilities(int) []sandbox.Capability { return nil }

// Prepare returns an error on this system.
func (*Backend) Prepare(*sandbox.Spec) error { return errUnsupported }
