package cgroup

import (
	"os"
	"path/filepath"
	"testing"

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
