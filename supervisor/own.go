//go:build linux || darwin

package supervisor

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/penstock/penstock/supervisor/config"
)

// keepOwnFiles refuses a writable directory that has Penstock's own inside.
// Hiding them there would not do: the tool could still rename a directory above
// them, and the host would look for audit, trust and authority in vain.
func keepOwnFiles(c *config.Config, writable []string) error {
	own := []string{c.Paths.Config, c.Paths.State, c.Paths.Data, c.Paths.Cache}
	for _, w := range writable {
		for _, o := range own {
			if within(o, w) {
				return &writableError{w, o}
			}
		}
	}
	return nil
}

// within says whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

type writableError struct{ dir, own string }

func (e *writableError) Error() string {
	return fmt.Sprintf("%s can't be writable in the pen: Penstock keeps its own files in it (%s)", e.dir, e.own)
}

func (e *writableError) Hint() string {
	return "change to a project's directory, or name one with --workdir"
}
