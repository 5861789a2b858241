//go:build !linux

package main

// main does nothing: pens are tested on Linux.
func main() {}
