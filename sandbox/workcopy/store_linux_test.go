package workcopy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox/shelf"
)

// stored is a rig whose copy is in a store.
func stored(t *testing.T) (*rig, *Store, *Held) {
	t.Helper()
	r := newRig(t)
	s, err := Open(r.top + "/state/copies")
	if err != nil {
		t.Fatal(err)
	}
	h, left, err := s.Create(context.Background(), r.work, "/bin/tool", protected(), []string{".env"}, Limits{})
	if err != nil || len(left) == 0 {
		t.Fatal(left, err)
	}
	r.copy = h.Tree()
	return r, s, h
}

func states(t *testing.T, s *Store) (out []string) {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, string(e.State))
	}
	return out
}

// TestStore: a copy is its holder's alone, says whose it is after that, and goes when all
// of it was brought.
func TestStore(t *testing.T) {
	ctx := context.Background()
	r, s, h := stored(t)
	if err := h.Began("20260101-000000-aaaaa"); err != nil {
		t.Fatal(err)
	}
	if got := states(t, s); !slices.Equal(got, []string{"running"}) {
		t.Errorf("%q", got)
	}
	if _, err := s.Hold(h.ID); !errors.Is(err, shelf.ErrLocked) {
		t.Errorf("held twice: %v", err)
	}
	h.Close() // as if it had been killed
	if got := states(t, s); !slices.Equal(got, []string{"left over"}) {
		t.Errorf("%q", got)
	}
	e, err := s.Find(h.Name, "/elsewhere")
	if err != nil || e.Session != "20260101-000000-aaaaa" || e.Work != r.work || e.Dir != r.copy {
		t.Fatal(e, err)
	}
	if h, err = s.Hold(e.ID); err != nil {
		t.Fatal(err)
	}
	r.sh(r.copy, "echo other >a; echo new >new; mkfifo fifo")
	r.sh(r.work, "echo mine >a")
	c, err := h.Changes(ctx)
	if err != nil || c.Count() != "1 created, 1 edited, 1 left out" {
		t.Fatal(c.Count(), err)
	}
	var some *NotAllError
	b, err := h.Bring(ctx, c)
	if !errors.As(err, &some) || b.Done != 1 || !b.Kept || !strings.Contains(err.Error(), "1 of 2 changes") {
		t.Errorf("%+v, %v", b, err)
	}
	r.sh(r.work, "echo one >a")
	if b, err = h.Bring(ctx, c); err != nil || !b.Kept {
		t.Errorf("with what was left out it goes: %+v, %v", b, err)
	}
	if got := states(t, s); !slices.Equal(got, []string{"running"}) {
		t.Errorf("%q", got)
	}
	r.sh(r.copy, "rm fifo; echo more >more")
	if c, err = h.Changes(ctx); err != nil {
		t.Fatal(err)
	}
	if b, err = h.Bring(ctx, c); err != nil || b.Kept {
		t.Errorf("%+v, %v", b, err)
	}
	if got := states(t, s); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if got := tree(t, r.work); !strings.Contains(got, `"more" "more\n"`) || !strings.Contains(got, `"a" "other\n"`) {
		t.Error(got)
	}
}

// TestCreateFails: what is too much, or is canceled, leaves nothing and says what to do.
func TestCreateFails(t *testing.T) {
	r := newRig(t)
	s, err := Open(r.top + "/state/copies")
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("interrupted"))
	for _, c := range []struct {
		ctx    context.Context
		limits Limits
		want   string
		hint   bool
	}{
		{context.Background(), Limits{Entries: 3}, "more than 3 names", true},
		{context.Background(), Limits{Bytes: 10}, "files have more than 10 bytes", true},
		{canceled, Limits{}, "interrupted", false},
	} {
		h, _, err := s.Create(c.ctx, r.work, "tool", nil, nil, c.limits)
		var hint interface{ Hint() string }
		if h != nil || err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &hint) != c.hint {
			t.Errorf("%q: %v", c.want, err)
		}
	}
	if left, _ := filepath.Glob(r.top + "/state/copies/[^.]*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if got := states(t, s); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestHostileStore: a link in the work directory's place is not followed, and what
// Penstock did not write is no copy.
func TestHostileStore(t *testing.T) {
	ctx := context.Background()
	r, s, h := stored(t)
	r.sh(r.copy, "echo new >new")
	c, err := h.Changes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.sh(r.top, "mv work moved; ln -s outside work")
	if b, err := h.Bring(ctx, c); err == nil || !strings.Contains(err.Error(), "a symbolic link is on its way") {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := os.Lstat(r.top + "/outside/new"); err == nil {
		t.Error("it was brought to where a link leads")
	}
	// An unreadable directory is removed too, and a link's target is not.
	r.sh(r.copy, "mkdir -p closed/in; ln -s $TOP/outside out; chmod 000 closed/in; chmod 000 closed")
	if err := h.Remove(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(r.top + "/outside/file"); err != nil || string(b) != "precious\n" {
		t.Errorf("%q, %v", b, err)
	}

	r.sh(r.top, "rm work; mv moved work")
	if h, _, err = s.Create(ctx, r.work, "tool", nil, nil, Limits{}); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	good, err := h.item.Root.ReadFile(h.ID + "/" + metaFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][2]string{
		{h.ID, "../../" + h.ID}, {r.work, "relative"}, {r.work, r.work + "/../../etc"}, {`"name": "` + h.Name, `"name": "../x`}, {`"version": 1`, `"version": 2`}, {"{", "["},
	} {
		bad := strings.Replace(string(good), x[0], x[1], 1)
		if bad == string(good) {
			t.Fatalf("%q is not there", x[0])
		}
		if err := h.item.Root.WriteFile(h.ID+"/"+metaFile, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := states(t, s); len(got) != 0 {
			t.Errorf("%q: %q", x, got)
		}
	}
}
