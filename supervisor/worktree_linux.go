package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor/config"
)

// findRepository looks at the repository of the work directory, if the session is
// to have a worktree of it.
func (s *session) findRepository(ctx context.Context) error {
	c := s.cfg
	if !c.Worktree {
		return nil
	}
	var err error
	if s.trees, err = Worktrees(&c.Host); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apartTimeout)
	defer cancel()
	if s.repo, err = s.trees.Inspect(ctx, c.Workdir); err != nil {
		return err
	}
	for _, g := range c.Policy.Filesystem().Write {
		real, err := filepath.EvalSymlinks(g.Path)
		if err != nil {
			real = g.Path // not there: the plan says so
		}
		for _, p := range []string{g.Path, real} {
			// What is in the work tree means that of the copy.
			if within(p, s.repo.Top) && !within(p, filepath.Join(s.repo.Top, ".git")) {
				continue
			}
			if err := keepRepository(s.repo, p); err != nil {
				return err
			}
		}
	}
	c.Hints = append(c.Hints, s.repo.Notes()...)
	return nil
}

// keepRepository refuses a path that would make the repository writable, or what is
// in its .git: the pen is to change a copy only.
func keepRepository(r *worktree.Repository, path string) error {
	for _, keep := range []string{r.Top, r.Common} {
		if within(keep, path) || within(path, r.Common) {
			return &apartWriteError{"worktree", "--worktree", "the repository itself", path, keep}
		}
	}
	return nil
}

// checkWritable holds what the plan really shows to that, links resolved.
func (s *session) checkWritable() error {
	var keep func(path string) error
	switch {
	case s.tree != nil:
		keep = func(path string) error { return keepRepository(s.repo, path) }
	case s.copy != nil:
		keep = func(path string) error { return keepWork(s.cfg.Workdir, path) }
	default:
		return nil // in a dry run the files themselves stand for their copy
	}
	for _, m := range s.files.Mounts {
		if m.Kind == sandbox.Bind && m.Write {
			if err := keep(m.Source); err != nil {
				return err
			}
		}
	}
	return nil
}

type apartWriteError struct{ thing, flag, what, path, keep string }

func (e *apartWriteError) Error() string {
	return fmt.Sprintf("%s can't be writable in a pen with a %s: %s is there (%s)", escape(e.path), e.thing, e.what, escape(e.keep))
}

func (e *apartWriteError) Hint() string {
	return "take it out of filesystem.write and --write, or leave " + e.flag + " out"
}

// makeWorktree gives the session its copy.
func (s *session) makeWorktree(ctx context.Context) (err error) {
	if s.repo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, apartTimeout)
	defer cancel()
	if s.tree, err = s.trees.Create(ctx, s.repo, s.cfg.WorktreeName, s.cfg.Command[0]); err != nil {
		return err
	}
	rel, err := filepath.Rel(s.repo.Top, s.cfg.Workdir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(s.tree.Tree())
	if err != nil {
		return err
	}
	defer root.Close()
	if fi, err := root.Stat(rel); err != nil || !fi.IsDir() {
		return &config.FlagError{Flag: "--worktree", Value: s.tree.Name, Why: rel + " is not in the commit that the worktree begins from", Fix: "commit it, or start in a directory that is committed"}
	}
	return nil
}

// mountWorktree shows the pen its repository, and the objects of the user's.
func (s *session) mountWorktree() {
	if s.repo == nil {
		return
	}
	if s.tree != nil {
		s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: s.tree.GitDir(), Target: worktree.GitPath, Write: true})
	}
	s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: s.repo.Objects(), Target: worktree.ObjectsPath})
	// The copy is of the whole repository; the command stands where the caller does.
	s.spec.Dir, s.files.Dir = s.cfg.Workdir, s.cfg.Workdir
}

// treeDir is what the pen sees in place of the repository's files.
func (s *session) treeDir() string {
	if s.tree != nil {
		return s.tree.Tree()
	}
	return s.repo.Top // a dry run makes none
}

func (s *session) worktreeNote() *worktreeNote {
	if s.repo == nil {
		return nil
	}
	n := &worktreeNote{Repository: s.repo.Top, Base: s.repo.Base}
	if s.tree != nil {
		n.Branch, n.Dir = s.tree.Branch, s.tree.Tree()
	}
	return n
}

// worktreeCapability is the worktree's line in report and record.
func (s *session) worktreeCapability() []sandbox.Capability {
	if s.repo == nil {
		return nil
	}
	c := sandbox.Capability{Control: "worktree", State: sandbox.Enforced, By: "copy of the repository"}
	if s.tree != nil {
		c.By += " on branch " + s.tree.Branch
	}
	c.Detail = "all objects of the repository can be read"
	return []sandbox.Capability{c}
}

// treeApart is a worktree at a session's end.
type treeApart struct {
	*worktree.Held
	end string
}

func (t *treeApart) terms() terms {
	return terms{Thing: "worktree", Name: t.Name, ID: t.ID, Apply: config.Merge, Applied: "merged", End: t.end}
}

func (t *treeApart) collect(ctx context.Context, b *bytes.Buffer) (bool, error) {
	if err := t.Collect(ctx); err != nil {
		return false, err
	}
	r, err := t.Report(ctx)
	if err == nil {
		r.Write(b, shownChanges)
	}
	return false, err
}

func (t *treeApart) apply(ctx context.Context) (string, error) {
	m, err := t.Merge(ctx)
	if err == nil {
		_, err = t.Remove(ctx, false)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("merged %s into %s", t.Branch, escape(m.Into)), nil
}

func (t *treeApart) remove(ctx context.Context) (string, error) {
	r, err := t.Remove(ctx, false)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("discarded %s, which was at %.12s", r.Branch, r.Commit), nil
}

func (t *treeApart) keep() error { return nil }
