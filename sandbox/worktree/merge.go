package worktree

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// Merged says what a merge did.
type Merged struct {
	Into        string `json:"into"`   // branch
	Commit      string `json:"commit"` // that the branch is at now
	FastForward bool   `json:"fast_forward"`
}

// Merge brings what was collected onto the branch that the worktree began from,
// which must be checked out without changes. It is decided beforehand, without
// touching a file, whether there are conflicts; a refused merge changes nothing.
func (h *Held) Merge(ctx context.Context) (*Merged, error) {
	m := &Merged{}
	head, err := h.mergeable(ctx, m)
	if err != nil {
		return nil, err
	}
	off, err := h.drivers(ctx)
	if err != nil {
		return nil, err
	}
	g := h.store.git
	target := h.Snapshot
	_, err = g.run(ctx, h.Repository, "merge-base", "--is-ancestor", head, h.Snapshot)
	switch {
	case err == nil:
		m.FastForward = true
	case exitCode(err) != 1:
		return nil, err
	default:
		if target, err = h.combine(ctx, head, off); err != nil {
			return nil, err
		}
	}
	// A fast forward is what git does most carefully: it looks at every file first,
	// and writes none if one is in the way.
	args := append(off, "merge", "--ff-only", "--no-verify", "--no-stat", "--no-overwrite-ignore", "-q", target)
	if _, err := g.run(ctx, h.Repository, args...); err != nil {
		return nil, refuse("move what is in the way, then: penstock worktree merge "+h.ID, "merge %s: nothing was changed: %w", h.Branch, err)
	}
	m.Commit = target
	return m, nil
}

// mergeable refuses a work tree that is not ready for a merge, and returns the
// commit that is checked out.
func (h *Held) mergeable(ctx context.Context, m *Merged) (head string, err error) {
	g, again := h.store.git, "then: penstock worktree merge "+h.ID
	if h.Snapshot == "" {
		return "", refuse("penstock worktree show "+h.ID, "merge %s: nothing was brought in yet", h.Branch)
	}
	if h.Onto == "" {
		return "", refuse("git switch to a branch, then git merge "+h.Branch, "merge %s: it was made of a detached HEAD, so there is no branch to merge into", h.Branch)
	}
	at, err := g.line(ctx, h.Repository, "symbolic-ref", "-q", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return "", err
	}
	if at != "refs/heads/"+h.Onto {
		return "", refuse("git switch "+h.Onto+", "+again, "merge %s: it began from branch %s, which is not checked out in %s", h.Branch, text.Escape(h.Onto), text.Escape(h.Repository))
	}
	m.Into = h.Onto
	status, err := g.run(ctx, h.Repository, "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames")
	if err != nil {
		return "", err
	}
	if len(status) > 0 {
		first, _, _ := strings.Cut(string(status), "\x00")
		return "", refuse("commit or stash them, "+again, "merge %s: %s has changes that are not committed (%s), and nothing was merged", h.Branch, text.Escape(h.Repository), text.Escape(strings.TrimSpace(first)))
	}
	return g.line(ctx, h.Repository, "rev-parse", "--verify", "HEAD^{commit}")
}

// combine makes a merge commit in the repository's objects only.
func (h *Held) combine(ctx context.Context, head string, off []string) (string, error) {
	g := h.store.git
	out, err := g.run(ctx, h.Repository, append(slices.Clone(off), "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", head, h.Snapshot)...)
	words := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if exitCode(err) == 1 && len(words) > 1 {
		files := slices.DeleteFunc(slices.Compact(words[1:]), func(s string) bool { return s == "" })
		return "", refuse("merge it yourself: git merge "+h.Branch, "merge %s: it conflicts with %s in %s, and nothing was merged", h.Branch, text.Escape(h.Onto), text.Clip(strings.Join(files, ", "), 300))
	}
	if err != nil {
		return "", fmt.Errorf("merge %s: %w", h.Branch, err)
	}
	if !isID(words[0]) {
		return "", fmt.Errorf("merge %s: git's answer is not understood", h.Branch)
	}
	commit, err := g.line(ctx, h.Repository, "commit-tree", "-p", head, "-p", h.Snapshot, "-m", "Merge branch '"+h.Branch+"'", words[0])
	if err != nil {
		return "", refuse("git config --global user.name and user.email, if that is missing", "merge %s: %w", h.Branch, err)
	}
	return commit, nil
}

// drivers turns off the filters and merge drivers that the user's configuration
// has: the attributes that select them come with the tool's files.
// A file that needs a driver is a conflict then: no other can merge it.
func (h *Held) drivers(ctx context.Context) (out []string, _ error) {
	keys, err := h.store.git.run(ctx, h.dir(), "config", "-z", "--name-only", "--get-regexp", `^(filter|merge)\..*\.(clean|smudge|process|required|driver)$`)
	if exitCode(err) == 1 {
		return nil, nil // there are none
	}
	if err != nil {
		return nil, err
	}
	for _, k := range strings.Split(strings.TrimSuffix(string(keys), "\x00"), "\x00") {
		value := ""
		if strings.HasSuffix(k, ".required") || strings.HasSuffix(k, ".driver") {
			value = "false" // an empty driver would succeed, and drop their side
		}
		if strings.Contains(k, "=") {
			return nil, refuse("rename it, or merge yourself: git merge "+h.Branch, "merge %s: %s can't be turned off by its name", h.Branch, text.Escape(k))
		}
		out = append(out, "-c", k+"="+value)
	}
	return out, nil
}
