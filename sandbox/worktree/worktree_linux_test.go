package worktree

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWorktreeRound makes a worktree, works in it as a tool does, brings the work
// in, and merges.
func TestWorktreeRound(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	h := r.create("My Feature!")
	if h.Name != "my-feature" || h.Branch != "penstock/my-feature" {
		t.Fatalf("named %s on %s", h.Name, h.Branch)
	}
	if fi, err := os.Stat(r.store.Dir()); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("root: %v, %v", fi.Mode(), err)
	}
	out := r.tool(h, `
git status --porcelain; git log --oneline | wc -l; git branch --show-current
echo changed >a; git add a; git commit -qm second
echo loose >loose; rm sub/b; printf x >prog; chmod +x prog; ln -s a link
git stash -uq; git stash pop -q; git status --porcelain`)
	if !strings.HasPrefix(out, "1\npenstock/my-feature\n") {
		t.Errorf("git in the pen: %q", out)
	}
	rep := r.collect(h)
	if rep.Commits != 2 || !rep.Uncommitted || rep.Tip == rep.Snapshot {
		t.Errorf("report: %+v", rep)
	}
	var got []string
	for _, c := range rep.Changes {
		got = append(got, c.Status+" "+c.Path)
	}
	if want := []string{"changed a", "added link", "added loose", "added prog", "deleted sub/b"}; !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
	if s := r.read("project/a"); s != "one\n" {
		t.Errorf("the repository's file was changed: %q", s)
	}
	var patch bytes.Buffer
	if err := h.Diff(ctx, &patch); err != nil || !strings.Contains(patch.String(), "+changed") {
		t.Errorf("diff: %v\n%s", err, patch.String())
	}
	m, err := h.Merge(ctx)
	if err != nil || !m.FastForward || m.Into != "main" {
		t.Fatalf("merge: %+v, %v", m, err)
	}
	if s := r.read("project/a"); s != "changed\n" {
		t.Errorf("after the merge: %q", s)
	}
	if s := r.git("status", "--porcelain"); s != "" {
		t.Errorf("after the merge: %s", s)
	}
	if _, err := h.Remove(ctx, false); err != nil {
		t.Fatal(err)
	}
	if s := r.git("branch"); s != "* main" {
		t.Errorf("branches: %s", s)
	}
	if list, err := r.store.List(); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	if left, _ := filepath.Glob(r.store.Dir() + "/[^.]*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	r.git("fsck", "--strict")
}

// TestWorktreeSameSecond: a change that leaves size and second as they were is seen.
func TestWorktreeSameSecond(t *testing.T) {
	r := newRig(t)
	for range 3 { // a second may end in between
		h := r.create("h")
		r.tool(h, "echo two >a; s=$(date +%s); while test $(date +%s) = $s; do :; done") // else git looks anyway
		if rep := r.collect(h); len(rep.Changes) != 1 {
			t.Errorf("changes: %+v", rep.Changes)
		}
		if _, err := h.Remove(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
}
