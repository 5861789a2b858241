package main

import "github.com/penstock/penstock/hooks/wasm/guest"

//go:wasmexport penstock_decide
func decide(at, size uint32) uint64 { return guest.Decide(at, size, judge) }
