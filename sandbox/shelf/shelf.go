// Package shelf keeps what sessions leave for their user: directories of two levels,
// PROJECT-HASH/NAME, each with a lock that whoever uses it holds. Worktrees and copies
// of work directories are kept on one.
//
// A directory is there with its registration and its lock held, or not at all: it is
// made under another name and renamed. So is one that is removed. What a killed process
// left between is swept when somebody lists.
//
// # What a tool would try
//
// It owns a directory inside of an item, and may put links, unreadable directories and
// files without number there. Removal deletes below the shelf, by descriptors
// (os.Root), and follows no link out of it; names are slugged before they become
// directories; registrations are where no pen can write, and are checked when they are
// read.
//
// # Hazard
//
// It deletes trees with the user's rights. Only a name that List gave and whose lock is
// held may be removed.
package shelf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// Shelf is one directory of items. It is safe for concurrent use, also by several
// processes.
type Shelf struct {
	dir  string // symbolic links resolved
	what string // plural, for errors
}

// LockFile is the name of an item's lock.
const LockFile = "lock"

// Prefixes of directories that are no items: not yet, and no longer.
const (
	newPrefix  = ".new-"
	gonePrefix = ".gone-"
)

// maxSmall bounds a registration, in bytes.
const maxSmall = 1 << 20

// maxTries bounds the numbers that are added to a name that is taken.
const maxTries = 100

// State of an item.
type State string

// The states.
const (
	Running State = "running"    // somebody uses it
	Left    State = "left over"  // its session was killed
	Kept    State = "kept"       // its session ended
	Broken  State = "incomplete" // it was never finished
)

// ErrLocked says that another process uses an item.
var ErrLocked = errors.New("it is in use")

// Open returns the shelf at dir, of what. Nothing is made yet.
func Open(dir, what string) (*Shelf, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("keep %s in %q: not an absolute path", what, dir)
	}
	s := &Shelf{dir: filepath.Clean(dir), what: what}
	if real, err := filepath.EvalSymlinks(s.dir); err == nil {
		s.dir = real
	}
	return s, nil
}

// Dir is where the shelf is.
func (s *Shelf) Dir() string { return s.dir }

// Path is where the host has what is called name in an item.
func (s *Shelf) Path(id, name string) string {
	return filepath.Join(s.dir, filepath.FromSlash(id), name)
}

// Root opens the shelf. With make it is there afterwards, and nobody else's to look
// into.
func (s *Shelf) Root(make bool) (*os.Root, error) {
	if make {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of %s: %w", s.what, err)
		}
		real, err := filepath.EvalSymlinks(s.dir)
		if err != nil {
			return nil, fmt.Errorf("find the directory of %s: %w", s.what, err)
		}
		if s.dir = real; os.Chmod(s.dir, 0o700) != nil {
			return nil, Refuse("it must be yours; set XDG_STATE_HOME to another place", "keep %s in %s: it can't be made private", s.what, text.Escape(s.dir))
		}
	}
	r, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of %s: %w", s.what, err)
	}
	return r, nil
}

// Each calls f for every item. What a killed process left of one that was not made yet
// or was being removed goes on the way. A shelf that is not there has none.
func (s *Shelf) Each(f func(root *os.Root, id string)) error {
	root, err := s.Root(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	projects, err := s.readDir(root, ".")
	if err != nil {
		return err
	}
	for _, p := range projects {
		names, err := s.readDir(root, p)
		if err != nil {
			return err
		}
		for _, n := range names {
			if strings.HasPrefix(n, newPrefix) || strings.HasPrefix(n, gonePrefix) {
				sweep(root, p+"/"+n)
				continue
			}
			f(root, p+"/"+n)
		}
	}
	return nil
}

// readDir lists the directories in a directory; links to some are none.
func (s *Shelf) readDir(root *os.Root, name string) ([]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.what, err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.what, err)
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

// InUse looks whether somebody holds an item.
func InUse(root *os.Root, id string) bool {
	l, err := lock(root, id, false)
	if err == nil {
		l.Close()
	}
	return errors.Is(err, ErrLocked)
}

// Held is an item that this process alone may change. Closing lets it go.
type Held struct {
	ID   string
	Root *os.Root // the shelf's
	lock *os.File
}

// Hold takes an item.
func (s *Shelf) Hold(id string) (*Held, error) {
	root, err := s.Root(false)
	if err != nil {
		return nil, err
	}
	h := &Held{ID: id, Root: root}
	if h.lock, err = lock(root, id, false); err != nil {
		root.Close()
		return nil, err
	}
	return h, nil
}

// Add makes an item and holds it. Its name is the wanted one, or that with a number if
// it is taken. register writes into the directory what the item is, before it has its
// place; it may say that a name is taken although the shelf has none of it.
func (s *Shelf) Add(project, name string, register func(h *Held, name, dir string) (taken bool, err error)) (_ *Held, err error) {
	root, err := s.Root(true)
	if err != nil {
		return nil, err
	}
	h := &Held{Root: root}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	fresh, err := h.fresh(project)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			removeAll(root, fresh) //nolint:errcheck // swept when somebody lists next
		}
	}()
	for i := 1; i <= maxTries; i++ {
		try := name
		if i > 1 {
			try = fmt.Sprintf("%s-%d", strings.TrimRight(name[:min(len(name), maxName-4)], "-._"), i)
		}
		h.ID = project + "/" + try
		if _, err := root.Lstat(h.ID); err == nil {
			continue
		}
		if taken, err := register(h, try, fresh); err != nil {
			return nil, err
		} else if taken {
			continue
		}
		// A directory is not renamed over one that has something in it.
		err := root.Rename(fresh, h.ID)
		if err == nil {
			return h, nil
		}
		if _, lerr := root.Lstat(h.ID); lerr != nil {
			return nil, err
		}
	}
	return nil, ErrTaken
}

// ErrTaken says that a name is taken, and all that are made from it.
var ErrTaken = errors.New("it is taken, and so are 99 others like it")

// fresh makes a directory with its lock held. Before it has one, others would take
// it for what a killed process left, and the project's directory for an empty one.
func (h *Held) fresh(project string) (string, error) {
	whole, err := lockAll(h.Root)
	if err != nil {
		return "", err
	}
	defer whole.Close()
	if err := h.Root.Mkdir(project, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	fresh := project + "/" + newPrefix + rand.Text()
	if err := h.Root.Mkdir(fresh, 0o700); err != nil {
		return "", err
	}
	h.lock, err = lock(h.Root, fresh, true)
	return fresh, err
}

// Lock says that the item is in use: it is, as long as a process has it open.
func (h *Held) Lock() *os.File { return h.lock }

// Close lets the item go; it stays where it is. Closing again does nothing.
func (h *Held) Close() error {
	if h.lock != nil {
		h.lock.Close()
		h.lock = nil
	}
	if h.Root != nil {
		h.Root.Close()
		h.Root = nil
	}
	return nil
}

// Remove deletes the item, and lets it go.
func (h *Held) Remove() error {
	project := path.Dir(h.ID)
	gone := project + "/" + gonePrefix + rand.Text()
	// From here on it is not listed: in one step, whatever happens to the rest.
	if err := h.Root.Rename(h.ID, gone); err != nil {
		return err
	}
	if err := removeAll(h.Root, gone); err != nil {
		return err
	}
	dropProject(h.Root, project)
	return h.Close()
}

// sweep removes what a killed process left, unless it is at it right now.
func sweep(root *os.Root, id string) {
	whole, err := lockAll(root)
	if err != nil {
		return
	}
	l, err := lock(root, id, false)
	if err == nil {
		l.Close()
	}
	gone := path.Dir(id) + "/" + gonePrefix + rand.Text()
	if errors.Is(err, ErrLocked) || root.Rename(id, gone) != nil {
		whole.Close()
		return
	}
	whole.Close()         // not while much is removed
	removeAll(root, gone) //nolint:errcheck // the next one tries again
	dropProject(root, path.Dir(id))
}

// dropProject removes a project's directory if it has no item any more.
func dropProject(root *os.Root, project string) {
	if whole, err := lockAll(root); err == nil {
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

// Read reads a small file of Penstock's in an item.
func Read(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// Write puts a file in its place in one step.
func Write(root *os.Root, name string, b []byte) error {
	f, err := root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(name+".new", name)
	}
	return err
}
