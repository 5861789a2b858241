//go:build !unix

package worktree

import (
	"errors"
	"os"
)

func lock(*os.Root, string) (*os.File, error) {
	return nil, errors.New("worktrees need a system that can run pens")
}
