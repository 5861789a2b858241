//go:build unix && !linux

package donate

import "os/exec"

// bind does nothing: there is no such tie here.
func bind(*exec.Cmd) error { return nil }
