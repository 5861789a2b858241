//go:build !unix

package worktree

import (
	"errors"
	"os"
)

func lock(*os.Root, string, bool) (*os.File, error) {
	return nil, errUnsupported
}

func lockStore(*os.Root) (*os.File, error) { return nil, errUnsupported }

var errUnsupported = errors.New("worktrees need a system that can run pens")
