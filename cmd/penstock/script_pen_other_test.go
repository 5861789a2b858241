//go:build !linux

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// No pens here: the scripts that need one skip themselves.

func realBinary(*testing.T) string { return "" }

func penConditions(string) (bool, error) { return false, nil }

func penCommands(in map[string]func(*testscript.TestScript, bool, []string)) map[string]func(*testscript.TestScript, bool, []string) {
	return in
}

func penPrograms() map[string]func() { return map[string]func(){"penstock": main} }
