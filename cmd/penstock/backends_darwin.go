package main

import (
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/darwin"
	"github.com/penstock/penstock/supervisor/doctor"
)

// backends are the tiers that this build has.
func backends() []sandbox.Backend {
	pen, err := darwin.New(darwin.Options{})
	if err != nil {
		return []sandbox.Backend{&missing{darwin.Name, err}}
	}
	return []sandbox.Backend{pen}
}

// trials are of what is no tier yet: of none here.
func trials() []doctor.Trial { return nil }
