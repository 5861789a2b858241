package main

import (
	"context"
	"os"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
)

// backends are the tiers that this build has, the one that auto chooses first.
// They are passed in, so that a user of package supervisor doesn't pull in
// those it does not want.
func backends() []sandbox.Backend {
	b, err := bwrap.New("")
	if err != nil {
		return []sandbox.Backend{&missing{"bwrap", err}}
	}
	return []sandbox.Backend{b}
}

// missing is a tier whose program is not there: whoever asks for it, or for
// auto, is told why, and nobody gets less.
type missing struct {
	name string
	err  error
}

func (m *missing) Name() string { return m.name }

func (m *missing) Probe(context.Context) ([]sandbox.Capability, error) { return nil, m.err }

func (m *missing) Command(*sandbox.Spec, *os.File, *os.File) (*sandbox.Command, error) {
	return nil, m.err
}
