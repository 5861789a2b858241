//go:build linux || darwin

package main

import (
	"context"
	"os"

	"github.com/penstock/penstock/sandbox"
)

// missing is a tier whose program is not there: whoever asks for it, or for
// auto, is told why, and nobody gets less.
type missing struct {
	name string
	err  error
}

func (m *missing) Name() string { return m.name }

func (m *missing) Any() bool { return true }

func (m *missing) Probe(context.Context) ([]sandbox.Capability, error) { return nil, m.err }

func (m *missing) Capabilities(int) []sandbox.Capability { return nil }

func (m *missing) Prepare(*sandbox.Spec) error { return m.err }

func (m *missing) Command(*sandbox.Spec, *os.File, *os.File) (*sandbox.Command, error) {
	return nil, m.err
}
