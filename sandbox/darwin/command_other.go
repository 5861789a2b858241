//go:build !unix

package darwin

import (
	"os"

	"github.com/penstock/penstock/sandbox"
)

// Command returns an error on this system.
func (*Backend) Command(*sandbox.Spec, *os.File, *os.File) (*sandbox.Command, error) {
	return nil, errUnsupported
}
