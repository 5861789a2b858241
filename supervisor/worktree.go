package supervisor

import (
	"path/filepath"

	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor/config"
)

// Worktrees opens the user's store of worktrees.
func Worktrees(h *config.Host) (*worktree.Store, error) {
	o := worktree.Options{Dir: filepath.Join(config.DefaultPaths(h).State, "worktrees"), Environ: h.Environ}
	if b, err := bwrap.New(""); err == nil {
		o.Bwrap = b.Path()
	}
	return worktree.Open(o)
}
