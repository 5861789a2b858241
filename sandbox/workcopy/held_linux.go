package workcopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/shelf"
)

// Create copies work into the store and holds the copy; its name is made from the
// command's. Paths are as for Out. On an error nothing is left.
func (s *Store) Create(ctx context.Context, work, command string, protect, hide []string, limits Limits) (_ *Held, _ []Left, err error) {
	h := &Held{Copy: Copy{Version: 1, Work: work, Created: time.Now().UTC()}, store: s}
	h.item, err = s.Add(shelf.Project(work, work, "directory"), shelf.FreshName(command, "copy"), func(item *shelf.Held, name, dir string) (bool, error) {
		h.item, h.Name, h.ID = item, name, item.ID
		return false, h.register(dir)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the copy's directory: %w", hint(err))
	}
	m, left, err := Out(ctx, work, h.Tree(), protect, hide, limits)
	if err == nil {
		err = shelf.Write(h.item.Root, h.ID+"/"+manifestFile, m.Encode())
	}
	if err == nil {
		h.Ready = true
		err = h.register(h.ID)
	}
	if err != nil {
		return nil, nil, errors.Join(hint(err), h.Remove())
	}
	return h, left, nil
}

// hint adds what to do about a tree that is too much.
func hint(err error) error {
	switch {
	case errors.Is(err, errLimit):
		return &shelf.Error{Err: err, Fix: "start in a smaller directory (--workdir), hide what is not needed (--hide), or leave --copy out"}
	case full(err):
		return &shelf.Error{Err: err, Fix: "make room where the copy is, set XDG_STATE_HOME to another place, or hide what is not needed (--hide)"}
	}
	return err
}

// manifest reads what the copy was.
func (h *Held) manifest() (*Manifest, error) {
	if !h.Ready {
		return nil, shelf.Refuse("penstock copy rm "+h.ID, "read copy %s: it was never finished", h.Name)
	}
	b, err := h.item.Root.ReadFile(h.ID + "/" + manifestFile)
	if err != nil {
		return nil, fmt.Errorf("read copy %s: %w", h.Name, err)
	}
	return Decode(b)
}

// Changes says what became of the copy.
func (h *Held) Changes(ctx context.Context) (*Changes, error) {
	m, err := h.manifest()
	if err != nil {
		return nil, err
	}
	return m.Changes(ctx, h.Tree(), Limits{})
}

// Diff writes changes with the lines that differ.
func (h *Held) Diff(ctx context.Context, c *Changes, w io.Writer) error {
	return c.Diff(ctx, w, h.Tree(), h.Work)
}

// Bring applies changes to the directory that this is a copy of. If that was all of
// them, and nothing had to be left out, the copy is removed.
func (h *Held) Bring(ctx context.Context, c *Changes) (*Brought, error) {
	m, err := h.manifest()
	if err != nil {
		return nil, err
	}
	b, err := m.Bring(ctx, c, h.Tree(), h.Work)
	if err != nil {
		return b, hint(err)
	}
	b.Kept = true
	switch {
	case len(b.Conflicts)+len(b.Refused) > 0:
		return b, &NotAllError{b, h.ID, h.Work}
	case len(c.Left) > 0:
		return b, h.End()
	}
	b.Kept = false
	return b, h.Remove()
}

// Said is what was done, for people.
func (h *Held) Said(b *Brought) string {
	what := fmt.Sprintf("%d changes", b.Done)
	if b.Done == 1 {
		what = "1 change"
	}
	what = "brought " + what + " into " + text.Escape(h.Work)
	if b.Kept && len(b.Conflicts)+len(b.Refused) == 0 {
		what += "; the copy stays, for what was left out: penstock copy rm " + h.ID
	}
	return what
}

// NotAllError says that some changes were not brought.
type NotAllError struct {
	Brought  *Brought
	id, work string
}

func (e *NotAllError) Error() string {
	return fmt.Sprintf("bring %s into %s: %d of %d changes could not be made there, and changed nothing", e.id, text.Escape(e.work), len(e.Brought.Conflicts)+len(e.Brought.Refused), len(e.Brought.Conflicts)+len(e.Brought.Refused)+e.Brought.Done)
}

// Hint says how to go on.
func (e *NotAllError) Hint() string {
	return "the copy is still there: take what you want of these by hand, then penstock copy rm " + e.id + "; or undo what is in their way, and penstock copy bring " + e.id
}
