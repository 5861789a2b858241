package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// TestAbandoned: a tree that a daemon has stays; of one that nobody has goes what is
// its own and empty.
func TestAbandoned(t *testing.T) {
	tree := grow(t)
	g := pen(t, tree, "a", sandbox.Limits{PIDs: 10}, sandbox.Limits{})
	if _, _, err := tree.Proxy(3, sandbox.Limits{}); err != nil {
		t.Fatal(err)
	}
	cmd, out := start(t, g, "spin")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	tops, err := tree.Tops()
	if err != nil || len(tops) == 0 {
		t.Fatal(tops, err)
	}
	there := func(rel string, want bool) {
		t.Helper()
		for _, top := range tops {
			if _, err := os.Lstat(filepath.Join(top.Dir, rel)); (err == nil) != want {
				t.Errorf("%s: %v", filepath.Join(top.Dir, rel), err)
			}
		}
	}
	abandoned := func(tops []Top) {
		t.Helper()
		if err := Abandoned(tops, 0); err != nil {
			t.Log(err)
		}
	}
	abandoned(tops)
	there("proxies/3", true)
	tree.unlock() // as its process's end does
	others := append([]Top(nil), tops...)
	for i := range others {
		others[i].Ino++
	}
	abandoned(others)
	there("proxies/3", true)
	for _, top := range tops {
		if err := os.Mkdir(filepath.Join(top.Dir, pensName, "not-ours"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	abandoned(tops)
	there("proxies", false)
	there("pens/u4711/sa", true) // its process runs
	there("pens/not-ours", true)
	cmd.Process.Kill()
	cmd.Wait() //nolint:errcheck // it is killed
	if err := g.Empty(within10(t)); err != nil {
		t.Fatal(err)
	}
	abandoned(tops)
	there("pens/u4711", false)
	there("pens/not-ours", true)
	for _, top := range tops {
		if err := os.Remove(filepath.Join(top.Dir, pensName, "not-ours")); err != nil {
			t.Error(err)
		}
	}
	if err := Abandoned(tops, 0); err != nil {
		t.Error(err)
	}
	there("", false)
}

// TestAbandonedLocked: a lock that a child of the dead daemon has for a moment is
// waited for.
func TestAbandonedLocked(t *testing.T) {
	tree := grow(t)
	tops, err := tree.Tops()
	if err != nil || len(tops) == 0 {
		t.Fatal(tops, err)
	}
	done := make(chan error, 1)
	go func() { done <- Abandoned(tops, 10*time.Second) }()
	select {
	case err := <-done:
		t.Fatal("the lock was not waited for: ", err)
	case <-time.After(50 * time.Millisecond):
	}
	tree.unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, top := range tops {
		if _, err := os.Lstat(top.Dir); err == nil {
			t.Error(top.Dir, "is left")
		}
	}
}
