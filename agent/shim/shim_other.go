//go:build !linux && !darwin

package shim

import (
	"context"
	"errors"
	"os"
)

var errUnsupported = errors.New("the shim needs Linux or macOS")

// Conn does not exist on this system.
type Conn struct{}

// Process is the held shim.
type Process struct {
	PID, UID, GID, Landlock int
	Socket                  uint64
}

// Pair returns an error on this system.
func Pair() (*Conn, *os.File, error) { return nil, nil, errUnsupported }

// Close does nothing on this system.
func (*Conn) Close() error { return nil }

// Configure returns an error on this system.
func (*Conn) Configure(*Config, ...*os.File) error { return errUnsupported }

// WaitReady returns an error on this system.
func (*Conn) WaitReady(context.Context) (Process, error) { return Process{}, errUnsupported }

// Release returns an error on this system.
func (*Conn) Release() error { return errUnsupported }

// WaitExec returns an error on this system.
func (*Conn) WaitExec(context.Context) error { return errUnsupported }
