//go:build !linux

package proxyrole

import (
	"fmt"
	"os"
)

// Main says that the role needs Linux.
func Main() int {
	fmt.Fprintln(os.Stderr, "penstock: the proxy role needs Linux")
	return 125
}
