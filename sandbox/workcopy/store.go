package workcopy

import (
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

// Copy is what is registered of a copy. Only Penstock writes it, outside what the pen
// sees.
type Copy struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // PROJECT-HASH/NAME: its directory below the store's
	Name    string    `json:"name"`
	Work    string    `json:"work"`              // what it is a copy of
	Session string    `json:"session,omitempty"` // whose it was; "" before that has an id
	Created time.Time `json:"created"`
	Ready   bool      `json:"ready"` // all of it was there once
	Ended   bool      `json:"ended"` // its session ended, and was not killed
}

// Listed is one line of a list.
type Listed struct {
	Copy
	State shelf.State `json:"state"`
	Dir   string      `json:"dir"` // its files
}

// Names of what a copy's directory has.
const (
	metaFile     = "copy.json"
	manifestFile = "manifest"
	treeDir      = "tree"
)

// Store is a user's copies. It is safe for concurrent use, also by several processes.
type Store struct{ *shelf.Shelf }

// Open returns the store at dir. Nothing is made yet.
func Open(dir string) (*Store, error) {
	s, err := shelf.Open(dir, "copies")
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// List returns all copies, the oldest first.
func (s *Store) List() ([]Listed, error) {
	out := []Listed{}
	err := s.Each(func(root *os.Root, id string) {
		c, err := readMeta(root, id)
		if err != nil {
			return // not registered
		}
		e := Listed{Copy: *c, State: shelf.Left, Dir: s.Path(id, treeDir)}
		switch {
		case shelf.InUse(root, id):
			e.State = shelf.Running
		case !c.Ready:
			e.State = shelf.Broken
		case c.Ended:
			e.State = shelf.Kept
		}
		out = append(out, e)
	})
	slices.SortFunc(out, func(a, b Listed) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, err
}

// Find returns the copy that somebody means by a name, or by PROJECT-HASH/NAME. Of
// several with that name it is the one of work.
func (s *Store) Find(name, work string) (*Listed, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e Listed) bool { return e.ID != name && e.Name != name })
	if i := slices.IndexFunc(list, func(e Listed) bool { return e.Work == work }); i >= 0 {
		return &list[i], nil
	}
	switch len(list) {
	case 0:
		return nil, shelf.Refuse("see penstock copy ls", "find copy %s: there is none", text.Escape(name))
	case 1:
		return &list[0], nil
	}
	var ids []string
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return nil, shelf.Refuse("say which: "+strings.Join(ids, ", "), "find copy %s: there are %d of that name", text.Escape(name), len(list))
}

// Held is a copy that this process alone may use.
type Held struct {
	Copy
	store *Store
	item  *shelf.Held
}

// Hold takes a registered copy. The caller closes it.
func (s *Store) Hold(id string) (*Held, error) {
	item, err := s.Shelf.Hold(id)
	if err == nil {
		// Whoever had it until now may have removed it.
		var c *Copy
		if c, err = readMeta(item.Root, id); err == nil {
			return &Held{*c, s, item}, nil
		}
		item.Close()
	}
	if errors.Is(err, shelf.ErrLocked) {
		return nil, shelf.Refuse("wait for its session's end, or end it: penstock ps, penstock kill", "use copy %s: %w", id, err)
	}
	return nil, fmt.Errorf("use copy %s: %w", text.Escape(id), err)
}

// Tree is the host's directory of the copy's files.
func (h *Held) Tree() string { return h.store.Path(h.ID, treeDir) }

// Lock says that the copy is in use: it is, as long as a process has it open.
func (h *Held) Lock() *os.File { return h.item.Lock() }

// Close lets the copy go; it stays where it is. Closing again does nothing.
func (h *Held) Close() error { return h.item.Close() }

// Remove deletes the copy, and lets it go.
func (h *Held) Remove() error {
	if err := h.item.Remove(); err != nil {
		return fmt.Errorf("remove copy %s: %w", h.ID, err)
	}
	return nil
}

// Began notes whose copy it is.
func (h *Held) Began(session string) error {
	h.Session = session
	return h.register(h.ID)
}

// End notes that its session has ended.
func (h *Held) End() error {
	h.Ended = true
	return h.register(h.ID)
}

func (h *Held) register(dir string) error {
	b, err := json.MarshalIndent(&h.Copy, "", "  ")
	if err == nil {
		err = shelf.Write(h.item.Root, dir+"/"+metaFile, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("register the copy: %w", err)
	}
	return nil
}

func readMeta(root *os.Root, id string) (*Copy, error) {
	b, err := shelf.Read(root, id+"/"+metaFile)
	if err != nil {
		return nil, err
	}
	c := &Copy{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, err
	}
	if c.Version != 1 || c.ID != id || c.Name == "" || shelf.Slug(c.Name) != c.Name || !filepath.IsAbs(c.Work) || filepath.Clean(c.Work) != c.Work {
		return nil, fmt.Errorf("%s: not what Penstock writes", id+"/"+metaFile)
	}
	return c, nil
}
