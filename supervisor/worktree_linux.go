package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor/config"
)

// shownChanges bounds the lines of each list at a session's end.
const shownChanges = 40

// How long git may take to make a worktree, and to read what became of it.
const worktreeTimeout = 20 * time.Minute

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
	ctx, cancel := context.WithTimeout(ctx, worktreeTimeout)
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
			return &worktreeWriteError{path, keep}
		}
	}
	return nil
}

// checkWritable holds what the plan really shows to that, links resolved.
func (s *session) checkWritable() error {
	if s.tree == nil {
		return nil // in a dry run the files themselves stand for their copy
	}
	for _, m := range s.files.Mounts {
		if m.Kind == sandbox.Bind && m.Write {
			if err := keepRepository(s.repo, m.Source); err != nil {
				return err
			}
		}
	}
	return nil
}

type worktreeWriteError struct{ path, repo string }

func (e *worktreeWriteError) Error() string {
	return fmt.Sprintf("%s can't be writable in a pen with a worktree: the repository itself is there (%s)", escape(e.path), escape(e.repo))
}

func (e *worktreeWriteError) Hint() string {
	return "take it out of filesystem.write and --write, or leave --worktree out"
}

// makeWorktree gives the session its copy.
func (s *session) makeWorktree(ctx context.Context) (err error) {
	if s.repo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, worktreeTimeout)
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

// endWorktree brings in what the session made of its worktree and does with it
// what was asked for. failed is how the session itself ended. The error is for a
// merge or removal that was asked for and not done.
func (s *session) endWorktree(res *Result, failed error) error {
	if s.tree == nil {
		return nil
	}
	defer s.tree.Close()
	ctx, cancel := context.WithTimeout(context.Background(), worktreeTimeout)
	defer cancel()
	if !s.ran {
		_, err := s.tree.Remove(ctx, false)
		return err
	}
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	s.interruptible(ctx, interrupt)
	report, err := s.bringIn(ctx)
	if err != nil {
		s.say.line("WARNING: worktree %s is left as it is: %v", s.tree.Name, err)
		s.say.line("  try again with: penstock worktree show %s", s.tree.ID)
		if s.cfg.WorktreeEnd == config.Merge || s.cfg.WorktreeEnd == config.Discard {
			return err
		}
		return nil
	}
	if !s.cfg.Quiet {
		var b bytes.Buffer
		report.Write(&b, shownChanges)
		for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			s.say.line("%s", l)
		}
	}
	end := s.cfg.WorktreeEnd
	if end == "" && failed == nil {
		end = s.askEnd(ctx)
	}
	if end == config.Merge && (failed != nil || res.ExitCode != 0) {
		s.say.line("not merged, because the command failed")
		end = config.Keep
	}
	switch end {
	case config.Merge:
		m, err := s.tree.Merge(ctx)
		if err != nil {
			s.keep()
			return err
		}
		if !s.cfg.Quiet {
			s.say.line("merged %s into %s", s.tree.Branch, escape(m.Into))
		}
		_, err = s.tree.Remove(ctx, false)
		return err
	case config.Discard:
		r, err := s.tree.Remove(ctx, false)
		if err == nil && !s.cfg.Quiet {
			s.say.line("discarded %s, which was at %.12s", r.Branch, r.Commit)
		}
		return err
	}
	s.keep()
	return nil
}

// interruptible ends ctx at the caller's next signal: nobody else takes one any
// more. What is left in the channel was the command's.
func (s *session) interruptible(ctx context.Context, interrupt context.CancelCauseFunc) {
	for {
		select {
		case <-s.sigs.c:
			continue
		default:
		}
		break
	}
	go func() {
		select {
		case sig := <-s.sigs.c:
			interrupt(fmt.Errorf("interrupted (%v)", sig))
		case <-ctx.Done():
		}
	}()
}

// bringIn collects and compares.
func (s *session) bringIn(ctx context.Context) (*worktree.Report, error) {
	if err := s.tree.Collect(ctx); err != nil {
		return nil, err
	}
	return s.tree.Report(ctx)
}

// keep says how to go on with a worktree that stays.
func (s *session) keep() {
	if s.cfg.Quiet {
		return
	}
	id := s.tree.ID
	s.say.line("worktree kept: penstock worktree diff %s", id)
	s.say.line("  then: penstock worktree merge %s, or: penstock worktree rm %s", id, id)
}

// askEnd asks on a terminal what to do; no answer keeps the worktree.
func (s *session) askEnd(ctx context.Context) string {
	for _, f := range []*os.File{s.stdio.In, s.stdio.Err} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return config.Keep
		}
	}
	if fg, err := unix.IoctlGetInt(int(s.stdio.In.Fd()), unix.TIOCGPGRP); err != nil || fg != unix.Getpgrp() {
		return config.Keep // in the background nobody is asked
	}
	// What was typed ahead was meant for the command.
	unix.IoctlSetInt(int(s.stdio.In.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	fmt.Fprint(s.say, "penstock: merge, discard or keep it? [keep] ")
	answer := make(chan string, 1)
	go func() {
		var line []byte
		for b := make([]byte, 1); len(line) < 80; {
			n, err := s.stdio.In.Read(b)
			if n == 0 || err != nil || b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		answer <- strings.ToLower(strings.TrimSpace(string(line)))
	}()
	select {
	case a := <-answer:
		switch a {
		case "m", config.Merge:
			return config.Merge
		case "d", config.Discard:
			return config.Discard
		}
	case <-ctx.Done():
		fmt.Fprintln(s.say)
	}
	return config.Keep
}

// finishWorktree joins the worktree's end with the session's own.
func (s *session) finishWorktree(res *Result, err error) error {
	werr := s.endWorktree(res, err)
	switch {
	case werr == nil:
		return err
	case err != nil:
		return errors.Join(err, werr)
	case res.ExitCode != 0:
		s.say.line("%v", werr) // the command's own failure is told by the exit code
		return nil
	}
	return werr
}
