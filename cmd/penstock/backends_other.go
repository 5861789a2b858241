//go:build !linux

package main

import "github.com/penstock/penstock/sandbox"

func backends() []sandbox.Backend { return nil }
