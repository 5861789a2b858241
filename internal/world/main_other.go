//go:build !linux

package world

import "testing"

// Main runs the tests; there is no private internet on this system, and the
// tests that need one are not built.
func Main(m *testing.M) int { return m.Run() }
