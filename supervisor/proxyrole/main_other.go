//go:build !linux && !darwin

package proxyrole

import (
	"fmt"
	"os"
)

// Main says that the role needs Linux or macOS.
func Main() int {
	fmt.Fprintln(os.Stderr, "penstock: the proxy role needs Linux or macOS")
	return 125
}
