// A hook that would read a file.
package main

import (
	"os"

	"github.com/penstock/penstock/hooks/wasm/guest"
)

//go:wasmexport penstock_decide
func decide(at, size uint32) uint64 { return guest.Decide(at, size, judge) }

func judge(r *guest.Request) guest.Decision {
	b, err := os.ReadFile(r.Path)
	if err != nil {
		return guest.Next()
	}
	return guest.Deny(string(b))
}

func main() {}
