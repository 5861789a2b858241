//go:build !linux && !darwin

package main

import (
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/doctor"
)

func backends() []sandbox.Backend { return nil }

func trials() []doctor.Trial { return nil }
