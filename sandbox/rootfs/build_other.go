//go:build !linux

package rootfs

import "errors"

// Build returns an error on this system.
func Build(int) error { return errors.New("mounting a pen's root needs Linux") }
