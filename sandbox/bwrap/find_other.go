//go:build !linux

package bwrap

func ownedByRoot(string) error { return errUnsupported }
