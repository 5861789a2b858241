package wasm

import "github.com/penstock/penstock/sandbox/confine"

// landlock says whether the kernel can hold the interpreter to the module's paths.
func landlock() bool { return confine.LandlockABI() >= 2 }
