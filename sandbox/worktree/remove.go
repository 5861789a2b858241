package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Removed says what a removal took away.
type Removed struct {
	ID     string `json:"id"`
	Branch string `json:"branch"`
	// Commit is what the branch was at; "" if the branch was not there.
	Commit string `json:"commit,omitempty"`
	// BranchKept says why the branch is still there; "" if it isn't.
	BranchKept string `json:"branch_kept,omitempty"`
}

// Remove deletes the worktree's directory and, unless keepBranch, its branch, if
// that is where Penstock put it. The worktree is not usable afterwards.
func (h *Held) Remove(ctx context.Context, keepBranch bool) (*Removed, error) {
	out := &Removed{ID: h.ID, Branch: h.Branch}
	if keepBranch {
		out.BranchKept = "asked for"
	} else if err := h.dropBranch(ctx, out); err != nil {
		return nil, err
	}
	if err := h.item.Remove(); err != nil {
		return nil, fmt.Errorf("remove worktree %s: %w", h.ID, err)
	}
	return out, nil
}

// dropBranch deletes the branch unless somebody has moved it: then it has
// commits that are not ours.
func (h *Held) dropBranch(ctx context.Context, out *Removed) error {
	if _, err := os.Stat(h.Common); errors.Is(err, fs.ErrNotExist) {
		return nil // the repository is gone, and the branch with it
	}
	at, err := h.branchCommit(ctx)
	if err != nil || at == "" {
		return err
	}
	out.Commit = at
	if !h.ours(at) {
		out.BranchKept = "it was moved since"
		return nil
	}
	if used, err := h.checkedOut(ctx); err != nil || used {
		out.BranchKept = "it is checked out"
		return err
	}
	_, err = h.store.git.run(ctx, h.dir(), "update-ref", "--no-deref", "-d", "refs/heads/"+h.Branch, at)
	return err
}

// dir is where git is run for the repository: its files, or what is left of it.
func (h *Held) dir() string {
	if _, err := os.Stat(h.Repository); err == nil {
		return h.Repository
	}
	return h.Common // a linked work tree that was removed
}

// branchCommit is what the worktree's branch names, or "".
func (h *Held) branchCommit(ctx context.Context) (string, error) {
	at, err := h.store.git.line(ctx, h.dir(), "rev-parse", "--verify", "-q", "refs/heads/"+h.Branch)
	if exitCode(err) == 1 {
		return "", nil
	}
	return at, err
}

// checkedOut says whether some work tree of the user's has the branch.
func (h *Held) checkedOut(ctx context.Context) (bool, error) {
	out, err := h.store.git.run(ctx, h.dir(), "worktree", "list", "--porcelain", "-z")
	if err != nil {
		return false, err
	}
	for _, l := range strings.Split(string(out), "\x00") {
		if l == "branch refs/heads/"+h.Branch {
			return true, nil
		}
	}
	return false, nil
}
