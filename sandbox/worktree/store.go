package worktree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/text"
)

// Options say where worktrees are kept and with what they are made.
type Options struct {
	Dir     string   // absolute; made if it is missing
	Bwrap   string   // the bwrap binary; without it nothing is made or brought back
	Environ []string // the caller's environment, for git's own configuration
}

// Store is a user's worktrees. It is safe for concurrent use, also by several
// processes: each worktree has a lock.
type Store struct {
	dir   string // symbolic links resolved
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

// State of a worktree.
type State string

// The states.
const (
	Running State = "running"    // somebody uses it
	Left    State = "left over"  // its session ended without bringing its commits in
	Kept    State = "kept"       // its commits are on its branch
	Broken  State = "incomplete" // it was never finished
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
	lockFile = "lock"
	ownDir   = "own"
	treeDir  = "tree"
	gitDir   = "git"
)

// Prefixes of directories that are no worktrees: not yet, and no longer.
const (
	newPrefix  = ".new-"
	gonePrefix = ".gone-"
)

// Open returns the user's store. Nothing is made yet.
func Open(o Options) (*Store, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("keep worktrees in %q: not an absolute path", o.Dir)
	}
	g, err := newGit(o.Environ)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: filepath.Clean(o.Dir), bwrap: o.Bwrap, git: g}
	if real, err := filepath.EvalSymlinks(s.dir); err == nil {
		s.dir = real
	}
	return s, nil
}

// root opens the directory of all worktrees. With make it is there afterwards,
// and nobody else's to look into.
func (s *Store) root(make bool) (*os.Root, error) {
	if make {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of worktrees: %w", err)
		}
		real, err := filepath.EvalSymlinks(s.dir)
		if err != nil {
			return nil, fmt.Errorf("find the directory of worktrees: %w", err)
		}
		if s.dir = real; os.Chmod(s.dir, 0o700) != nil {
			return nil, refuse("it must be yours; set XDG_STATE_HOME to another place", "keep worktrees in %s: it can't be made private", text.Escape(s.dir))
		}
	}
	r, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of worktrees: %w", err)
	}
	return r, nil
}

// List returns all worktrees, the oldest first. What a killed process left of
// one that was not made yet or was being removed goes on the way.
func (s *Store) List() ([]Entry, error) {
	root, err := s.root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return []Entry{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	out := []Entry{}
	err = each(root, func(id string) {
		name := path.Base(id)
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, gonePrefix) {
			sweep(root, id)
			return
		}
		w, err := readMeta(root, id)
		if err != nil {
			return // not registered
		}
		out = append(out, Entry{Worktree: *w, State: state(root, w), Dir: filepath.Join(s.dir, filepath.FromSlash(id), treeDir)})
	})
	slices.SortFunc(out, func(a, b Entry) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, err
}

// each calls f for every directory of a worktree.
func each(root *os.Root, f func(id string)) error {
	projects, err := readDir(root, ".")
	if err != nil {
		return err
	}
	for _, p := range projects {
		names, err := readDir(root, p)
		if err != nil {
			return err
		}
		for _, n := range names {
			f(p + "/" + n)
		}
	}
	return nil
}

// readDir lists the directories in a directory; links to some are none.
func readDir(root *os.Root, name string) ([]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("list worktrees: %w", err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list worktrees: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// state looks whether a worktree is in use.
func state(root *os.Root, w *Worktree) State {
	l, err := lock(root, w.ID, false)
	switch {
	case errors.Is(err, errLocked):
		return Running
	case err == nil:
		l.Close()
	}
	switch {
	case !w.Ready:
		return Broken
	case w.Snapshot == "":
		return Left
	}
	return Kept
}

// errLocked says that another process uses a worktree.
var errLocked = errors.New("it is in use")

func readMeta(root *os.Root, id string) (*Worktree, error) {
	f, err := root.Open(id + "/" + metaFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return nil, err
	}
	w := &Worktree{}
	if err := json.Unmarshal(b, w); err != nil {
		return nil, err
	}
	if w.Version != 1 || w.ID != id || Slug(w.Name) != w.Name || w.Name == "" || w.Branch != BranchPrefix+w.Name || !isID(w.Base) ||
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
	name := dir + "/" + metaFile
	f, err := root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("register the worktree: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = root.Rename(name+".new", name)
	}
	if err != nil {
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
	root  *os.Root
	lock  *os.File
}

// Hold takes a registered worktree. The caller closes it.
func (s *Store) Hold(id string) (*Held, error) {
	root, err := s.root(false)
	if err != nil {
		return nil, err
	}
	h := &Held{store: s, root: root}
	if h.lock, err = lock(root, id, false); err == nil {
		// Whoever had it until now may have removed it.
		var w *Worktree
		if w, err = readMeta(root, id); err == nil {
			h.Worktree = *w
			return h, nil
		}
	}
	h.Close()
	if errors.Is(err, errLocked) {
		return nil, refuse("wait for its session's end, or end it: penstock ps, penstock kill", "use worktree %s: %w", id, err)
	}
	return nil, fmt.Errorf("use worktree %s: %w", text.Escape(id), err)
}

// Close lets the worktree go; it stays where it is. Closing again does nothing.
func (h *Held) Close() error {
	if h.lock != nil {
		h.lock.Close()
		h.lock = nil
	}
	if h.root != nil {
		h.root.Close()
		h.root = nil
	}
	return nil
}

// Tree is the host's directory of the worktree's files.
func (h *Held) Tree() string { return h.path(treeDir) }

// GitDir is the host's directory of the pen's own repository.
func (h *Held) GitDir() string { return h.path(gitDir) }

func (h *Held) path(name string) string {
	return filepath.Join(h.store.dir, filepath.FromSlash(h.ID), name)
}
