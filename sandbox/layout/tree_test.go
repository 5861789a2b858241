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

// TestGuardedTree: in a copy of the work directory the usual names are protected, no
// repository elsewhere is granted, and what is kept of the directory itself is named.
func TestGuardedTree(t *testing.T) {
	host := debian("/home/u/work/.git/hooks/x", "/home/u/work/.git/config", "/home/u/work/.env", "/home/u/work/.vscode/tasks.json", "/home/u/work/f",
		"/home/u/state/tree/.git/hooks/x", "/home/u/state/tree/.git/config", "/home/u/state/tree/.vscode/tasks.json", "/home/u/state/tree/f")
	in := Input{Work: "/home/u/work", Home: "/home/u", UID: 1000, GID: 1000, Hide: []string{"/home/u/work/.env", "/home/u/work/none"}, Protect: []string{"/home/u/work/f"}}
	direct, err := Build(in, host)
	if err != nil {
		t.Fatal(err)
	}
	protected, hidden := direct.Kept()
	for _, want := range []string{".git/hooks", ".git/config", ".vscode", ".penstock.yaml", "f"} {
		if !slices.Contains(protected, want) {
			t.Errorf("not protected: %s", want)
		}
	}
	if !slices.Equal(hidden, []string{".env", "none"}) {
		t.Errorf("hidden: %q", hidden)
	}
	in.Tree, in.Guarded = "/home/u/state/tree", true
	p, err := Build(in, host)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range p.Mounts {
		if m.Kind == sandbox.Bind && within(m.Source, in.Work) {
			t.Errorf("the directory itself is shown: %+v", m)
		}
		if m.Target == "/home/u/work/.git/hooks" && (m.Write || m.Source != in.Tree+"/.git/hooks") {
			t.Errorf("hooks: %+v", m)
		}
	}
	if again, _ := p.Kept(); !slices.Equal(again, protected) {
		t.Errorf("in the copy %q are protected, in the directory %q", again, protected)
	}

	const text = "=gitdir: /home/u/main/.git/worktrees/w\n"
	linked := debian("/home/u/main/.git/objects/", "/home/u/main/.git/refs/", "/home/u/linked/.git"+text, "/home/u/state/linked/.git"+text,
		"/home/u/main/.git/worktrees/w/gitdir=/home/u/linked/.git\n", "/home/u/main/.git/worktrees/w/commondir=../..\n")
	for _, copied := range []bool{false, true} {
		in := Input{Work: "/home/u/linked", Home: "/home/u", UID: 1000, GID: 1000}
		if copied {
			in.Tree, in.Guarded = "/home/u/state/linked", true
		}
		p, err := Build(in, linked)
		if err != nil {
			t.Fatal(err)
		}
		granted := slices.ContainsFunc(p.Mounts, func(m sandbox.Mount) bool { return m.Write && m.Source == "/home/u/main/.git" })
		if granted == copied {
			t.Errorf("copied %v: the main repository is granted: %v", copied, granted)
		}
		if said := strings.Contains(strings.Join(p.Warnings, "\n"), "git will not work"); said != copied {
			t.Errorf("copied %v: %q", copied, p.Warnings)
		}
	}
}
