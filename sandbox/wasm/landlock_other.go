//go:build !linux

package wasm

func landlock() bool { return false }
