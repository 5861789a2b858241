package shelf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func items(t *testing.T, s *Shelf) (out []string) {
	t.Helper()
	if err := s.Each(func(_ *os.Root, id string) { out = append(out, id) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestShelf: names that are taken get a number, an item that is held is its holder's, and
// what a killed process left between goes when somebody lists.
func TestShelf(t *testing.T) {
	dir := t.TempDir() + "/shelf"
	if _, err := Open("relative", "things"); err == nil {
		t.Error("a relative path")
	}
	s, err := Open(dir, "things")
	if err != nil {
		t.Fatal(err)
	}
	if got := items(t, s); len(got) != 0 {
		t.Errorf("%q", got)
	}
	register := func(h *Held, name, dir string) (bool, error) {
		return name == "x-2", Write(h.Root, dir+"/what", []byte(name))
	}
	for _, want := range []string{"p/x", "p/x-3"} {
		h, err := s.Add("p", "x", register)
		if err != nil || h.ID != want {
			t.Fatal(h, err)
		}
		if b, err := Read(h.Root, h.ID+"/what"); err != nil || "p/"+string(b) != want {
			t.Errorf("%q, %v", b, err)
		}
		if !InUse(h.Root, h.ID) {
			t.Errorf("%s is not in use", h.ID)
		}
		if _, err := s.Hold(h.ID); !errors.Is(err, ErrLocked) {
			t.Errorf("held twice: %v", err)
		}
		h.Close()
		if h.Close(); h.Root != nil {
			t.Error("it is still open")
		}
	}
	fails := errors.New("no")
	if h, err := s.Add("p", "y", func(*Held, string, string) (bool, error) { return false, fails }); h != nil || !errors.Is(err, fails) {
		t.Errorf("%v, %v", h, err)
	}
	// As a process left them that was killed while it made one, and while it removed one.
	for _, left := range []string{"p/" + newPrefix + "a", "p/" + gonePrefix + "b"} {
		if err := os.MkdirAll(filepath.Join(dir, left, "tree", "in"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got := items(t, s); !slices.Equal(got, []string{"p/x", "p/x-3"}) {
		t.Errorf("%q", got)
	}
	for _, id := range []string{"p/x", "p/x-3"} {
		h, err := s.Hold(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(dir + "/[^.]*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
