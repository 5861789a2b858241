//go:build !linux

package wasm

import (
	"fmt"
	"os"
)

// Main returns 125 on this system.
func Main([]string) int {
	fmt.Fprintln(os.Stderr, "penstock: the tier wasm needs Linux")
	return 125
}
