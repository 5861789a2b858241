//go:build !unix

package policy

import (
	"fmt"
	"os"
)

// openRegular opens a regular file for reading.
func openRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", printable(path))
	}
	return os.Open(path)
}

// checkOwner has nothing to read here: access lists are not modes.
func checkOwner(*os.File) error { return nil }

// lockFile has no lock here; the rename still keeps the store whole.
func lockFile(string) (func(), error) { return func() {}, nil }
