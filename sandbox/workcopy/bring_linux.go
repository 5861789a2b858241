package workcopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Brought is what became of the changes.
type Brought struct {
	Done      int    `json:"done"`      // changes that the work directory has now
	Conflicts []Left `json:"conflicts"` // left as it is on the host, and why
	Refused   []Left `json:"refused"`   // left because of what they are
	Kept      bool   `json:"kept"`      // the copy is still in its store
}

// Bring applies reviewed changes of a copy to the work directory. An error is one of
// the whole, such as a full disk; what has been done until then stays, and it can be
// called again. Changes of names that the manifest protects are refused again here,
// whoever made the list.
func (m *Manifest) Bring(ctx context.Context, c *Changes, copied, work string) (*Brought, error) {
	from, err := openRoot(copied)
	if err != nil {
		return nil, fmt.Errorf("bring back %s: %w", copied, err)
	}
	defer from.Close()
	to, err := openStraight(work)
	if err != nil {
		return nil, fmt.Errorf("bring back to %s: %w", work, err)
	}
	b := &bring{from: from, to: to, read: newReader(), rules: m.rules(), out: &Brought{Conflicts: []Left{}, Refused: []Left{}}}
	defer b.close()
	for _, x := range order(c.Changes) {
		if err := ctx.Err(); err != nil {
			return b.out, context.Cause(ctx)
		}
		if err := b.one(&x); err != nil {
			return b.out, fmt.Errorf("bring back %q: %w", x.Path, err)
		}
	}
	return b.out, nil
}

// order: what is deleted first, the deepest before what is above it; then what is
// made, from above; and last the modes of directories that nothing could be written
// into with, from below.
func order(changes []Change) (out []Change) {
	var made, late []Change
	for i, x := range slices.Backward(changes) {
		switch {
		case x.Do == Deleted:
			if i+1 < len(changes) && changes[i+1].Path == x.Path {
				x.then = changes[i+1].Is
			}
			out = append(out, x)
		case x.Is != nil && x.Is.Kind == Dir && x.Do == Mode:
			late = append(late, x)
		case x.Is != nil && x.Is.Kind == Dir && x.Is.Mode&ownerAll != ownerAll:
			shut := x
			shut.Do, shut.Was = Mode, &Entry{Path: x.Path, Kind: Dir, Mode: x.Is.Mode | ownerAll}
			late, made = append(late, shut), append(made, x)
		default:
			made = append(made, x)
		}
	}
	slices.Reverse(made)
	return append(append(out, made...), late...)
}

// ownerAll is what a directory's owner needs to write into it.
const ownerAll = 0o700

type bring struct {
	from, to *os.File
	read     *reader
	rules    *rules
	out      *Brought

	in   *os.File // the directory of the last change
	inAt string
}

func (b *bring) close() {
	b.leaveDir()
	b.to.Close()
}

func (b *bring) leaveDir() {
	if b.in != nil {
		b.in.Close()
	}
	b.in, b.inAt = nil, ""
}

// parent opens the directory in which a path is.
func (b *bring) parent(p string) (*os.File, string, error) {
	at, name := path.Dir(p), path.Base(p)
	if at == "." {
		return b.to, name, nil
	}
	if b.in != nil && b.inAt == at {
		return b.in, name, nil
	}
	b.leaveDir()
	d, err := openDir(b.to, at)
	if err != nil {
		return nil, "", err
	}
	b.in, b.inAt = d, at
	return d, name, nil
}

// conflict is why a change can't be made without losing something.
type conflict struct{ why string }

func (c *conflict) Error() string { return c.why }

func meanwhile(what string) error { return &conflict{what} }

// refused is why a change is not made whatever the host has.
type refused struct{ why string }

func (r *refused) Error() string { return r.why }

// one makes one change. Errors are those that end everything.
func (b *bring) one(x *Change) error {
	err := b.change(x)
	var r *refused
	switch {
	case err == nil:
		b.out.Done++
	case errors.As(err, &r):
		b.out.Refused = append(b.out.Refused, Left{x.Path, r.why})
	case full(err):
		return err
	default:
		b.out.Conflicts = append(b.out.Conflicts, Left{x.Path, because(err)})
	}
	return nil
}

func (b *bring) change(x *Change) error {
	if !plainPath(x.Path) || (x.Was == nil && x.Is == nil) || (x.Do == Deleted) != (x.Is == nil) {
		return &refused{"it is no change below the work directory"}
	}
	if why := b.rules.refuse(x.Path, x.Was, x.Is); why != "" {
		return &refused{why}
	}
	dir, name, err := b.parent(x.Path)
	if err != nil {
		if x.Do == Deleted && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) {
			return nil // with its directory
		}
		return meanwhileDir(err)
	}
	p := &place{bring: b, dir: dir, name: name, x: x}
	switch {
	case x.Do == Deleted && x.Was.Kind == Dir:
		return p.removeDir()
	case x.Do == Deleted:
		return p.remove()
	case x.Do == Mode:
		return p.mode()
	case x.Is.Kind == Dir:
		return p.makeDir()
	}
	return p.put()
}

func meanwhileDir(err error) error {
	if full(err) {
		return err
	}
	return meanwhile("its directory can't be entered on the host: " + because(err))
}
