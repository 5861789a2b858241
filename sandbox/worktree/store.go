package worktree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/shelf"
)

// Options say where worktrees are kept and with what they are made.
type Options struct {
	Dir     string   // absolute; made if it is missing
	Bwrap   string   // the bwrap binary; without it nothing is made or brought back
	Environ []string // the caller's environment, for git's own configuration
}

// BranchPrefix is what the name of each worktree's branch begins with.
const BranchPrefix = "penstock/"

// Store is a user's worktrees. It is safe for concurrent use, also by several
// processes: each worktree has a lock.
type Store struct {
	*shelf.Shelf
	bwrap string
	git   *git
}

// Worktree is what is registered of one. Only Penstock writes it, outside what
// the pen sees.
type Worktree struct {
	Version    int       `json:"version"`
	ID         string    `json:"id"` // PROJECT-HASH/NAME: its directory below the root
	Name       string    `json:"name"`
	Branch     string    `json:"branch"`     // penstock/NAME
	Repository string    `json:"repository"` // work tree of the repository that it was made from
	Common     string    `json:"common"`     // that repository's own directory
	Base       string    `json:"base"`       // commit that it began from
	Onto       string    `json:"onto"`       // branch that was checked out then; "" if none was
	Created    time.Time `json:"created"`
	Ready      bool      `json:"ready"` // the files were there once
	// Tip and Snapshot are what was brought in last: the commit that was checked
	// out, and that with one more commit of what was not committed.
	Tip      string `json:"tip,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
	// Bringing is what the branch is being moved to: written first, so that it is
	// known for ours after a kill in between.
	Bringing string `json:"bringing,omitempty"`
	// Nested are repositories in the tree, Branches others that the tool made: they
	// were left out then. Names are the tool's.
	Nested   []string `json:"left_out_repositories,omitempty"`
	Branches []string `json:"left_out_branches,omitempty"`
}

// State of a worktree. It is left over if its session ended without bringing its
// commits in, and kept if they are on its branch.
type State = shelf.State

// The states.
const (
	Running = shelf.Running
	Left    = shelf.Left
	Kept    = shelf.Kept
	Broken  = shelf.Broken
)

// Entry is one line of a list.
type Entry struct {
	Worktree
	State State  `json:"state"`
	Dir   string `json:"dir"` // its files
}

// Names of what a worktree's directory has.
const (
	metaFile = "worktree.json"
	ownDir   = "own"
	treeDir  = "tree"
	gitDir   = "git"
)

// Open returns the user's store. Nothing is made yet.
func Open(o Options) (*Store, error) {
	on, err := shelf.Open(o.Dir, "worktrees")
	if err != nil {
		return nil, err
	}
	g, err := newGit(o.Environ)
	if err != nil {
		return nil, err
	}
	return &Store{Shelf: on, bwrap: o.Bwrap, git: g}, nil
}

// List returns all worktrees, the oldest first. What a killed process left of
// one that was not made yet or was being removed goes on the way.
func (s *Store) List() ([]Entry, error) {
	out := []Entry{}
	err := s.Each(func(root *os.Root, id string) {
		if w, err := readMeta(root, id); err == nil { // else it is not registered
			out = append(out, Entry{Worktree: *w, State: state(root, w), Dir: s.Path(id, treeDir)})
		}
	})
	slices.SortFunc(out, func(a, b Entry) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, err
}

// state looks whether a worktree is in use.
func state(root *os.Root, w *Worktree) State {
	if shelf.InUse(root, w.ID) {
		return Running
	}
	switch {
	case !w.Ready:
		return Broken
	case w.Snapshot == "":
		return Left
	}
	return Kept
}

func readMeta(root *os.Root, id string) (*Worktree, error) {
	b, err := shelf.Read(root, id+"/"+metaFile)
	if err != nil {
		return nil, err
	}
	w := &Worktree{}
	if err := json.Unmarshal(b, w); err != nil {
		return nil, err
	}
	if w.Version != 1 || w.ID != id || shelf.Slug(w.Name) != w.Name || w.Name == "" || w.Branch != BranchPrefix+w.Name || !isID(w.Base) ||
		!filepath.IsAbs(w.Repository) || !filepath.IsAbs(w.Common) || w.Tip != "" && !isID(w.Tip) || w.Snapshot != "" && !isID(w.Snapshot) || w.Bringing != "" && !isID(w.Bringing) {
		return nil, fmt.Errorf("%s: not what Penstock writes", id+"/"+metaFile)
	}
	return w, nil
}

// writeMeta registers a worktree, or what changed of it, in one step.
func writeMeta(root *os.Root, dir string, w *Worktree) error {
	b, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err
	}
	if err := shelf.Write(root, dir+"/"+metaFile, append(b, '\n')); err != nil {
		return fmt.Errorf("register the worktree: %w", err)
	}
	return nil
}

// ours says whether a commit is one that Penstock put the branch at.
func (w *Worktree) ours(commit string) bool {
	return commit == w.Base || commit != "" && (commit == w.Snapshot || commit == w.Bringing)
}

// Find returns the worktree that somebody means by a name, or by PROJECT-HASH/NAME.
// Of several with that name it is the one of the repository that dir is in.
func (s *Store) Find(ctx context.Context, name, dir string) (*Entry, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, e := range list {
		if e.ID == name || e.Name == name || e.Branch == name {
			found = append(found, e)
		}
	}
	if len(found) > 1 {
		here := &Repository{}
		if s.locate(ctx, here, dir) == nil {
			if i := slices.IndexFunc(found, func(e Entry) bool { return e.Common == here.Common }); i >= 0 {
				return &found[i], nil
			}
		}
		var ids []string
		for _, e := range found {
			ids = append(ids, e.ID)
		}
		return nil, refuse("say which: "+strings.Join(ids, ", "), "find worktree %s: there are %d of that name", text.Escape(name), len(found))
	}
	if len(found) == 0 {
		return nil, refuse("see penstock worktree ls", "find worktree %s: there is none", text.Escape(name))
	}
	return &found[0], nil
}

// Held is a worktree that this process alone may change.
type Held struct {
	Worktree
	store *Store
	item  *shelf.Held
	root  *os.Root // item's
}

// Hold takes a registered worktree. The caller closes it.
func (s *Store) Hold(id string) (*Held, error) {
	item, err := s.Shelf.Hold(id)
	if err == nil {
		// Whoever had it until now may have removed it.
		var w *Worktree
		if w, err = readMeta(item.Root, id); err == nil {
			return &Held{Worktree: *w, store: s, item: item, root: item.Root}, nil
		}
		item.Close()
	}
	if errors.Is(err, shelf.ErrLocked) {
		return nil, refuse("wait for its session's end, or end it: penstock ps, penstock kill", "use worktree %s: %w", id, err)
	}
	return nil, fmt.Errorf("use worktree %s: %w", text.Escape(id), err)
}

// Close lets the worktree go; it stays where it is. Closing again does nothing.
func (h *Held) Close() error { return h.item.Close() }

// Tree is the host's directory of the worktree's files.
func (h *Held) Tree() string { return h.path(treeDir) }

// GitDir is the host's directory of the pen's own repository.
func (h *Held) GitDir() string { return h.path(gitDir) }

func (h *Held) path(name string) string {
	return h.store.Path(h.ID, name)
}
