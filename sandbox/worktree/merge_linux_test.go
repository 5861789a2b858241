package worktree

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestWorktreeMergeRefused: a merge that can't be had changes nothing at all.
func TestWorktreeMergeRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(*rig)
	}{
		{"changes", "not committed (M sub/b)", func(r *rig) { r.write("project/sub/b", "mine\n") }},
		{"staged changes", "not committed", func(r *rig) { r.write("project/new", "x"); r.git("add", "new") }},
		{"conflict", "conflicts with main in a,", func(r *rig) { r.write("project/a", "mine\n"); r.git("commit", "-qam", "mine") }},
		{"another branch", "branch main, which is not checked out", func(r *rig) { r.git("checkout", "-qb", "other") }},
		{"detached", "branch main, which is not checked out", func(r *rig) { r.git("checkout", "-q", "--detach") }},
		{"a file in the way", "nothing was changed", func(r *rig) { r.write("project/added", "mine\n") }},
		{"an ignored file in the way", "nothing was changed", func(r *rig) {
			r.write("project/.git/info/exclude", "added\n")
			r.write("project/added", "mine\n")
		}},
		{"a merge in progress", "nothing was", func(r *rig) {
			r.git("checkout", "-qb", "other")
			r.git("commit", "-q", "--allow-empty", "-m", "other")
			r.git("checkout", "-q", "main")
			r.git("commit", "-q", "--allow-empty", "-m", "main")
			r.git("merge", "-q", "--no-commit", "--no-ff", "other")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			h := r.create("h")
			r.tool(h, "echo theirs >a; echo new >added")
			r.collect(h)
			c.set(r)
			look := func() string {
				return r.git("status", "--porcelain=v2", "--branch", "--ignored") + r.git("rev-parse", "HEAD") + r.git("for-each-ref") + r.read("project/a") + r.read("project/added") + r.read("project/sub/b")
			}
			before := look()
			if m, err := h.Merge(context.Background()); err == nil || !strings.Contains(err.Error()+",", c.want) {
				t.Errorf("merged %+v, %v", m, err)
			}
			if after := look(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if _, err := os.Stat(h.Tree()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWorktreeMergeCommit: branches that went apart are joined, without hooks.
func TestWorktreeMergeCommit(t *testing.T) {
	r := newRig(t)
	h := r.create("h")
	r.tool(h, "echo theirs >a")
	r.collect(h)
	r.write("project/sub/b", "mine\n")
	r.git("commit", "-qam", "mine")
	for _, hook := range []string{"pre-merge-commit", "post-merge", "commit-msg", "prepare-commit-msg", "post-checkout", "reference-transaction", "post-index-change", "pre-commit"} {
		r.write("project/.git/hooks/"+hook, "#!/bin/sh\ntouch "+r.home+"/ran\nexit 1\n")
		if err := os.Chmod(r.repo+"/.git/hooks/"+hook, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m, err := h.Merge(context.Background())
	if err != nil || m.FastForward {
		t.Fatalf("merged %+v, %v", m, err)
	}
	if _, err := h.Remove(context.Background(), false); err != nil {
		t.Error(err)
	}
	if r.read("project/a")+r.read("project/sub/b") != "theirs\nmine\n" {
		t.Error("not both sides are there")
	}
	if _, err := os.Stat(r.home + "/ran"); err == nil {
		t.Error("a hook ran")
	}
}
