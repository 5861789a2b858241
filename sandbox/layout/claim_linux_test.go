package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

func wanted(dir string) []sandbox.Placeholder {
	return []sandbox.Placeholder{
		{Path: filepath.Join(dir, ".vscode"), Dir: true},
		{Path: filepath.Join(dir, "opencode.json"), Content: []byte(emptyJSON)},
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mustClaim(t *testing.T, list []sandbox.Placeholder) *Claimed {
	t.Helper()
	c, err := Claim(list)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaimAndRelease(t *testing.T) {
	dir := t.TempDir()
	c := mustClaim(t, wanted(dir))
	if got := names(t, dir); len(got) != 2 {
		t.Fatal(got)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Error(got)
	}
}

// TestLastOneRemoves: sessions share, whichever ends first.
func TestLastOneRemoves(t *testing.T) {
	dir := t.TempDir()
	a, b := mustClaim(t, wanted(dir)), mustClaim(t, wanted(dir))
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Fatalf("the first to end took %v from the other", got)
	}
	b.Release()
	if got := names(t, dir); len(got) != 0 {
		t.Error(got)
	}
}

// TestLeftoverIsTakenOver: what a killed session left is planned as missing,
// shared and removed.
func TestLeftoverIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	for _, h := range mustClaim(t, wanted(dir)).held {
		h.f.Close() // as the kernel does for the dead
	}
	plan, err := Build(Input{Work: dir, Home: t.TempDir()}, OS())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range plan.Placeholders {
		if p.Path == filepath.Join(dir, ".vscode") || p.Path == filepath.Join(dir, "opencode.json") {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 are planned again", found)
	}
	mustClaim(t, plan.Placeholders).Release()
	if got := names(t, dir); len(got) != 0 {
		t.Error(got)
	}
}

func TestClaimRefusesWhatIsNotOurs(t *testing.T) {
	for name, prepare := range map[string]func(p string) error{
		"directory": func(p string) error { return os.Mkdir(p, 0o755) },
		"file":      func(p string) error { return os.WriteFile(p, nil, 0o644) },
		"link":      func(p string) error { return os.Symlink("/etc", p) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := prepare(filepath.Join(dir, "opencode.json")); err != nil {
				t.Fatal(err)
			}
			if _, err := Claim(wanted(dir)); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%v", err)
			}
			if got := names(t, dir); len(got) != 1 || got[0] != "opencode.json" {
				t.Errorf("left %v", got)
			}
		})
	}
}

func TestReleaseKeepsWhatSomebodyUses(t *testing.T) {
	dir := t.TempDir()
	c := mustClaim(t, wanted(dir))
	// The host's user makes something of a placeholder while the pen lives.
	if err := os.Chmod(filepath.Join(dir, ".vscode"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "opencode.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "opencode.json"), []byte("{\"a\":1}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("only %v left", got)
	}
}

func TestManySessionsAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				c, err := Claim(wanted(dir))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Lstat(filepath.Join(dir, ".vscode")); err != nil {
					t.Error("gone while claimed")
				}
				c.Release()
			}
		})
	}
	wg.Wait()
	if got := names(t, dir); len(got) != 0 {
		t.Error(got)
	}
}

func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	c := mustClaim(t, wanted(dir))
	if err := Adopt(wanted(dir)).Release(); err != nil {
		t.Fatal(err)
	}
	if len(names(t, dir)) != len(c.held) {
		t.Error("removed what a living session holds")
	}
	for _, h := range c.held { // it dies
		h.f.Close()
	}
	if err := Adopt(wanted(dir)).Release(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Error(got)
	}
}

// TestCreateNamed: where no file is without a name at first, as on macOS, a placeholder is
// whole from its first moment too, and its other name goes.
func TestCreateNamed(t *testing.T) {
	dir := t.TempDir()
	p := sandbox.Placeholder{Path: filepath.Join(dir, "a.json"), Content: []byte(emptyJSON)}
	if err := createNamed(p); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "a.json" {
		t.Errorf("%q", got)
	}
	if err := createNamed(p); !errors.Is(err, fs.ErrExist) || len(names(t, dir)) != 1 {
		t.Errorf("over another: %v, %q", err, names(t, dir))
	}
	if err := Adopt([]sandbox.Placeholder{p}).Release(); err != nil || len(names(t, dir)) != 0 {
		t.Errorf("it is not known again: %v, %q", err, names(t, dir))
	}
}
