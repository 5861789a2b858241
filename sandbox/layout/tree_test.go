package layout

import (
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// TestTree: a worktree stands at the repository's place, and only its .git is
// protected; nothing of the repository itself is shown.
func TestTree(t *testing.T) {
	host := debian("/home/u/work/.git/hooks/x", "/home/u/work/secret", "/home/u/work/.vscode/tasks.json",
		"/home/u/state/w/tree/.git", "/home/u/state/w/tree/sub/f", "/home/u/state/w/tree/.vscode/tasks.json", "/home/u/state/w/tree/bin/", "/home/u/state/w/own/config")
	in := Input{Work: "/home/u/work", Tree: "/home/u/state/w/tree", Home: "/home/u", UID: 1000, GID: 1000,
		Path: []string{"/home/u/work/bin", "/usr/bin"}, Read: []string{"/home/u"}, Write: []string{"/home/u/work/.git"}, Hide: []string{"/home/u/state"}, Protect: []string{"/home/u/work/sub/f", "/home/u/work/kept"}}
	p, err := Build(in, host)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]sandbox.Mount{}
	for _, m := range p.Mounts {
		at[m.Target] = m
		if m.Kind == sandbox.Bind && within(m.Source, in.Work) {
			t.Errorf("the repository itself is shown: %+v", m)
		}
		if m.Kind == sandbox.Bind && m.Write && !within(m.Source, in.Tree) {
			t.Errorf("writable: %+v", m)
		}
	}
	for target, want := range map[string]sandbox.Mount{
		"/home/u/work":       {Source: in.Tree, Target: "/home/u/work", Write: true},
		"/home/u/work/.git":  {Source: in.Tree + "/.git", Target: "/home/u/work/.git"},
		"/home/u/work/sub/f": {Source: in.Tree + "/sub/f", Target: "/home/u/work/sub/f"},
	} {
		if at[target] != want {
			t.Errorf("%s: %+v, want %+v", target, at[target], want)
		}
	}
	if at["/home/u/state"].Kind != sandbox.BlankDir {
		t.Errorf("Penstock's own files: %+v", at["/home/u/state"])
	}
	if _, ok := at["/home/u/work/.vscode"]; ok {
		t.Error("what nobody obeys in a copy is protected")
	}
	if !slices.Contains(p.Path, "/home/u/work/bin") || p.Dir != "/home/u/work" {
		t.Errorf("path %q, directory %s", p.Path, p.Dir)
	}
	if len(p.Placeholders) != 1 || !strings.HasPrefix(p.Placeholders[0].Path, in.Tree+"/") {
		t.Errorf("placeholders %+v", p.Placeholders)
	}
}
