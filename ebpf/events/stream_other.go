//go:build !linux

package events

import "os"

// Follow returns an error on this system.
func Follow(*os.File, Options) (*Watcher, error) { return nil, errUnsupported }
