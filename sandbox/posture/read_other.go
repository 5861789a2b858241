//go:build !linux

package posture

import (
	"errors"
	"os"
)

var errUnsupported = errors.New("reading a process back needs Linux")

// Read returns an error on this system.
func Read(int) (*Observation, error) { return nil, errUnsupported }

// Self returns an error on this system.
func Self() (Namespaces, int, error) { return Namespaces{}, 0, errUnsupported }

// NamespacesOf returns an error on this system.
func NamespacesOf(int) (Namespaces, error) { return Namespaces{}, errUnsupported }

// Identify returns an error on this system.
func Identify(*os.File) (FileID, error) { return FileID{}, errUnsupported }
