package worktree

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
	gone := path.Dir(h.ID) + "/" + gonePrefix + rand.Text()
	// From here on it is not listed: in one step, whatever happens to the rest.
	if err := h.root.Rename(h.ID, gone); err != nil {
		return nil, fmt.Errorf("remove worktree %s: %w", h.ID, err)
	}
	if err := removeAll(h.root, gone); err != nil {
		return nil, fmt.Errorf("remove worktree %s: %w", h.ID, err)
	}
	dropProject(h.root, path.Dir(h.ID))
	return out, h.Close()
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

// sweep removes what a killed process left, unless it is at it right now.
func sweep(root *os.Root, id string) {
	whole, err := lockStore(root)
	if err != nil {
		return
	}
	l, err := lock(root, id, false)
	if err == nil {
		l.Close()
	}
	gone := path.Dir(id) + "/" + gonePrefix + rand.Text()
	if errors.Is(err, errLocked) || root.Rename(id, gone) != nil {
		whole.Close()
		return
	}
	whole.Close()         // not while much is removed
	removeAll(root, gone) //nolint:errcheck // the next one tries again
	dropProject(root, path.Dir(id))
}

// dropProject removes a repository's directory if it has no worktree any more.
func dropProject(root *os.Root, project string) {
	if whole, err := lockStore(root); err == nil {
		root.Remove(project)
		whole.Close()
	}
}

// removeAll deletes a directory below the root, without following a link out of
// it. A tool may have taken the permission to look into its directories away.
func removeAll(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := openUp(root, name); err != nil {
		return err
	}
	return root.RemoveAll(name)
}

// openUp makes every directory one's own to change.
func openUp(root *os.Root, name string) error {
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := openUp(root, name+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
