//go:build !linux

package cgroup

import (
	"errors"

	"github.com/penstock/penstock/sandbox"
)

// Make returns an error on this system.
func Make(sandbox.Limits) (*Group, []Rlimit, []sandbox.Capability, error) {
	return nil, nil, nil, errors.New("limits need Linux")
}
