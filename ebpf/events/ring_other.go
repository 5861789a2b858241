//go:build !linux

package events

import (
	"errors"
	"os"
)

var errUnsupported = errors.New("map ring of events: Linux only")

type mapping struct{ ring }

func mapRing(*os.File) (*mapping, error)  { return nil, errUnsupported }
func (*mapping) unmap() error             { return nil }
func pollable(*os.File) (*os.File, error) { return nil, errUnsupported }
