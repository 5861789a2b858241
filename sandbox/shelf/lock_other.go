//go:build !unix

package shelf

import (
	"errors"
	"os"
)

func lock(*os.Root, string, bool) (*os.File, error) {
	return nil, errUnsupported
}

func lockAll(*os.Root) (*os.File, error) { return nil, errUnsupported }

var errUnsupported = errors.New("it needs a system that can run pens")
