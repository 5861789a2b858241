package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/workcopy"
	"github.com/penstock/penstock/supervisor/config"
)

// Copies opens the user's store of copies.
func Copies(h *config.Host) (*workcopy.Store, error) {
	return workcopy.Open(filepath.Join(config.DefaultPaths(h).State, "copies"))
}

// copyLists are names in the work directory: what is not brought back, and what is not
// copied either.
type copyLists struct{ protect, hide []string }

// planCopy finds what a pen without a copy could not change in the work directory, and
// what it would not see; and refuses grants that would make the files themselves
// writable.
func (s *session) planCopy() (*copyLists, error) {
	if !s.cfg.Copy {
		return nil, nil
	}
	for _, g := range s.cfg.Policy.Filesystem().Write {
		paths := []string{g.Path}
		if real, err := filepath.EvalSymlinks(g.Path); err == nil {
			paths = append(paths, real) // else it is not there, as the plan says
		}
		for _, p := range paths {
			if p != s.cfg.Workdir && within(p, s.cfg.Workdir) {
				continue // it means that of the copy
			}
			if err := keepWork(s.cfg.Workdir, p); err != nil {
				return nil, err
			}
		}
	}
	in, err := s.filesInput()
	if err != nil {
		return nil, err
	}
	plan, err := layout.Build(in, layout.OS())
	if err != nil {
		return nil, err
	}
	l := &copyLists{}
	l.protect, l.hide = plan.Kept()
	return l, nil
}

// keepWork refuses a path that would make what is copied writable.
func keepWork(work, path string) error {
	if within(work, path) || within(path, work) {
		return &apartWriteError{"copy", "--copy", "what is copied", path, work}
	}
	return nil
}

// shownLeft bounds the lines about what was not copied.
const shownLeft = 5

// makeCopy gives the session its copy. A signal ends it, and nothing is left.
func (s *session) makeCopy(ctx context.Context, l *copyLists) error {
	if l == nil {
		return nil
	}
	store, err := Copies(&s.cfg.Host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apartTimeout)
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	s.sigs = newSignals()
	over := s.sigs.interrupt(ctx, interrupt)
	slow := time.AfterFunc(2*time.Second, func() {
		if !s.cfg.Quiet {
			s.say.line("copying %s", escape(s.cfg.Workdir))
		}
	})
	h, left, err := store.Create(ctx, s.cfg.Workdir, s.cfg.Command[0], l.protect, l.hide, workcopy.Limits{})
	slow.Stop()
	interrupt(nil)
	<-over // whoever is next takes the signals
	if err != nil {
		return err
	}
	s.copy = h
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err // a signal that came when all was copied
	}
	left = slices.DeleteFunc(left, func(x workcopy.Left) bool { return slices.Contains(l.hide, x.Path) })
	for i, x := range left {
		if i == shownLeft {
			s.cfg.Hints = append(s.cfg.Hints, fmt.Sprintf("not copied: %d more", len(left)-i))
			break
		}
		s.cfg.Hints = append(s.cfg.Hints, "not copied: "+x.Path+": "+x.Why)
	}
	return nil
}

// copyDir is what the pen sees in place of the work directory.
func (s *session) copyDir() string {
	if s.copy != nil {
		return s.copy.Tree()
	}
	return s.cfg.Workdir // a dry run makes none
}

// copyLock is what the copy is in use by. It stays so after the supervisor was killed,
// until its pen has ended.
func (s *session) copyLock() *os.File {
	if s.copy == nil {
		return nil
	}
	return s.copy.Lock()
}

func (s *session) copyNote() *copyNote {
	if !s.cfg.Copy {
		return nil
	}
	n := &copyNote{Work: s.cfg.Workdir}
	if s.copy != nil {
		n.ID, n.Dir = s.copy.ID, s.copy.Tree()
	}
	return n
}

// copyCapability is the copy's line in report and record.
func (s *session) copyCapability() []sandbox.Capability {
	if !s.cfg.Copy {
		return nil
	}
	c := sandbox.Capability{Control: "copy", State: sandbox.Enforced, By: "copy of the work directory", Detail: "what is brought back is decided at the end"}
	if s.copy != nil {
		c.By += ", " + s.copy.ID
	}
	return []sandbox.Capability{c}
}

// copyApart is a copy at a session's end.
type copyApart struct {
	*workcopy.Held
	s       *session
	changes *workcopy.Changes
}

func (c *copyApart) terms() terms {
	return terms{Thing: "copy", Name: c.Name, ID: c.ID, Apply: config.Bring, Applied: "brought", End: c.s.cfg.CopyEnd}
}

func (c *copyApart) collect(ctx context.Context, b *bytes.Buffer) (done bool, err error) {
	if c.changes, err = c.Changes(ctx); err != nil {
		return false, err
	}
	fmt.Fprintf(b, "copy %s: %s\n", c.Name, c.changes.Count())
	var lines bytes.Buffer
	c.changes.Write(&lines, shownChanges)
	for line := range bytes.Lines(lines.Bytes()) {
		b.WriteString("  ")
		b.Write(line)
	}
	c.changes.WriteHazards(b, shownChanges)
	return len(c.changes.Changes)+len(c.changes.Left) == 0, nil
}

func (c *copyApart) apply(ctx context.Context) (string, error) {
	got, err := c.Bring(ctx, c.changes)
	if err != nil {
		if got != nil {
			workcopy.List(c.s.say, "penstock:   conflict:", got.Conflicts, 0)
			workcopy.List(c.s.say, "penstock:   refused:", got.Refused, 0)
		}
		return "", err
	}
	return c.Said(got), nil
}

func (c *copyApart) remove(context.Context) (string, error) {
	return "discarded copy " + c.Name, c.Held.Remove()
}

func (c *copyApart) keep() error { return c.End() }
