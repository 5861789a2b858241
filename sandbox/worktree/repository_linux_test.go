package worktree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWorktreeRefused: what can't have a worktree is refused by name, with what to
// do, and nothing is made.
func TestWorktreeRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(*rig) string // returns the directory to start in
	}{
		{"no repository", "not a git repository", func(r *rig) string { return r.home }},
		{"bare", "bare repository", func(r *rig) string {
			r.git("clone", "-q", "--bare", ".", r.home+"/bare.git")
			return r.home + "/bare.git"
		}},
		{"in .git", "not among the files", func(r *rig) string { return r.repo + "/.git" }},
		{"unborn", "no commit yet", func(r *rig) string {
			r.git("checkout", "-q", "--orphan", "new")
			return r.repo
		}},
		{"submodule", "kept elsewhere", func(r *rig) string {
			r.git("clone", "-q", ".", r.home+"/lib")
			r.git("submodule", "--quiet", "add", r.home+"/lib", "lib")
			return r.repo + "/lib"
		}},
		{"git directory elsewhere", "kept elsewhere", func(r *rig) string {
			r.git("init", "-q", "--separate-git-dir", r.home+"/elsewhere")
			return r.repo
		}},
		{"core.worktree", "not among the files", func(r *rig) string {
			r.write("other/f", "")
			r.git("config", "core.worktree", r.home+"/other")
			return r.repo
		}},
		{"core.worktree above", "kept elsewhere", func(r *rig) string {
			r.git("config", "core.worktree", r.home)
			return r.repo
		}},
		{"a .git file that names another's", "kept elsewhere", func(r *rig) string {
			r.git("worktree", "add", "-q", r.home+"/linked")
			r.write("forged/.git", "gitdir: "+r.repo+"/.git/worktrees/linked\n")
			return r.home + "/forged"
		}},
		{"alternates", "borrows objects", func(r *rig) string {
			r.git("clone", "-q", "--shared", ".", r.home+"/shared")
			return r.home + "/shared"
		}},
		{"objects behind a link", "not a directory", func(r *rig) string {
			if err := errors.Join(os.Rename(r.repo+"/.git/objects", r.home+"/stolen"), os.Symlink(r.home+"/stolen", r.repo+"/.git/objects")); err != nil {
				r.t.Fatal(err)
			}
			return r.repo
		}},
		{"partial clone", "partial clone", func(r *rig) string {
			r.git("config", "uploadpack.allowFilter", "true")
			r.git("clone", "-q", "--filter=blob:none", "file://"+r.repo, r.home+"/partial")
			return r.home + "/partial"
		}},
		{"LFS", "Git LFS", func(r *rig) string {
			r.write("project/sub/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
			r.git("add", ".")
			r.git("commit", "-qm", "lfs")
			return r.repo
		}},
		{"a worktree of ours", "belongs to a worktree already", func(r *rig) string {
			h := r.create("outer")
			return h.Tree()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			dir := c.set(r)
			before, _ := r.store.List()
			_, err := r.store.Inspect(context.Background(), dir)
			var hint interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("%s: %v", dir, err)
			}
			if after, _ := r.store.List(); len(after) != len(before) {
				t.Errorf("something was made: %+v", after)
			}
		})
	}
}

// TestWorktreeNames: what a name becomes, and what if it is taken.
func TestWorktreeNames(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.git("branch", "penstock/x")
	for _, want := range []string{"x-2", "x-3"} {
		if h := r.create("x"); h.Name != want || r.git("rev-parse", "penstock/"+want) != h.Base {
			t.Errorf("named %s, want %s", h.Name, want)
		}
	}
	if h := r.create(""); !strings.HasPrefix(h.Name, "tool-") {
		t.Errorf("named %s", h.Name)
	}
	if h := r.create("../../etc/x.lock"); h.Name != "etc-x" || !within(h.Tree(), r.store.Dir()) {
		t.Errorf("named %s", h.Name)
	}
	repo, err := r.store.Inspect(ctx, r.repo)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Create(ctx, repo, "///", "tool"); err == nil {
		t.Error("a name of nothing was taken")
	}
	r2 := newRig(t)
	r2.git("branch", "penstock")
	if repo, err = r2.store.Inspect(ctx, r2.repo); err != nil {
		t.Fatal(err)
	}
	if _, err := r2.store.Create(ctx, repo, "y", "tool"); err == nil || !strings.Contains(err.Error(), "a branch is called penstock") {
		t.Errorf("beside a branch penstock: %v", err)
	}
	if left, _ := filepath.Glob(r2.store.Dir() + "/[^.]*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestWorktreeKinds: repositories of other kinds, each to the end.
func TestWorktreeKinds(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*rig) // may change r.repo
		tool string     // beside what all do
		then func(*testing.T, *rig, *Held, *Report)
	}{
		{name: "detached", set: func(r *rig) { r.git("checkout", "-q", "--detach") },
			then: func(t *testing.T, r *rig, h *Held, _ *Report) {
				if _, err := h.Merge(context.Background()); err == nil || !strings.Contains(err.Error(), "detached HEAD") {
					t.Errorf("merge: %v", err)
				}
			}},
		{name: "linked work tree", set: func(r *rig) {
			r.git("worktree", "add", "-q", "-b", "side", r.home+"/linked")
			r.repo = r.home + "/linked"
		}, then: mergesInto("side")},
		{name: "sha256", set: func(r *rig) {
			r.repo = r.home + "/wide"
			if err := os.Mkdir(r.repo, 0o755); err != nil {
				r.t.Fatal(err)
			}
			r.git("init", "-q", "--object-format=sha256")
			r.write("wide/a", "one\n")
			r.git("add", ".")
			r.git("commit", "-qm", "first")
		}, then: mergesInto("main")},
		{name: "shallow", set: func(r *rig) {
			r.git("commit", "-q", "--allow-empty", "-m", "second")
			r.git("clone", "-q", "--depth=1", "file://"+r.repo, r.home+"/shallow")
			r.repo = r.home + "/shallow"
		}, then: mergesInto("main")},
		{name: "sparse", set: func(r *rig) {
			r.write("project/wanted/w", "w\n")
			r.git("add", ".")
			r.git("commit", "-qm", "wanted")
			r.git("sparse-checkout", "set", "wanted")
		}, tool: "test -f wanted/w; ! test -e sub; echo more >wanted/w", then: func(t *testing.T, r *rig, h *Held, rep *Report) {
			if len(rep.Changes) != 2 {
				t.Errorf("changes: %+v", rep.Changes)
			}
			mergesInto("main")(t, r, h, rep)
			if _, err := os.Stat(r.repo + "/sub"); err == nil {
				t.Error("the merge checked out what is not wanted")
			}
		}},
		{name: "submodules", set: func(r *rig) {
			r.git("clone", "-q", ".", r.home+"/lib")
			r.git("submodule", "--quiet", "add", r.home+"/lib", "lib")
			r.git("commit", "-qm", "lib")
		}, tool: "test -d lib; test -z \"$(ls -A lib)\"; git submodule status | grep -q '^-'", then: func(t *testing.T, r *rig, h *Held, rep *Report) {
			if len(rep.Changes) != 1 {
				t.Errorf("changes: %+v", rep.Changes)
			}
			mergesInto("main")(t, r, h, rep)
			if s := r.git("submodule", "status"); strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
				t.Errorf("submodule: %s", s)
			}
		}},
		{name: "line ends", set: func(r *rig) {
			r.git("config", "core.autocrlf", "true")
			r.git("rm", "-rqf", "--cached", ".")
			r.git("reset", "-q", "--hard")
		}, tool: `grep -q "$(printf '\r')" sub/b; test -z "$(git status --porcelain sub)"`, then: mergesInto("main")},
		{name: "changes of the user's", set: func(r *rig) { r.write("project/sub/b", "mine\n") }, tool: "grep -q two sub/b",
			then: func(t *testing.T, r *rig, h *Held, _ *Report) {
				if _, err := h.Merge(context.Background()); err == nil || !strings.Contains(err.Error(), "not committed") {
					t.Errorf("merge: %v", err)
				}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.set(r)
			h := r.create("k")
			r.tool(h, "test -z \"$(git status --porcelain)\"\necho changed >a; git commit -qam tool\n"+c.tool)
			c.then(t, r, h, r.collect(h))
		})
	}
}

// mergesInto wants a merge that leaves nothing behind.
func mergesInto(branch string) func(*testing.T, *rig, *Held, *Report) {
	return func(t *testing.T, r *rig, h *Held, _ *Report) {
		t.Helper()
		m, err := h.Merge(context.Background())
		if err != nil || m.Into != branch {
			t.Fatalf("merge: %+v, %v", m, err)
		}
		if s := r.git("status", "--porcelain", "--untracked-files=no"); s != "" {
			t.Errorf("status after the merge: %s", s)
		}
		b, err := os.ReadFile(filepath.Join(r.repo, "a"))
		if err != nil || strings.TrimSpace(string(b)) != "changed" {
			t.Errorf("after the merge: %q, %v", b, err)
		}
	}
}

// TestWorktreeConfig: what the pen's repository gets of the user's configuration.
func TestWorktreeConfig(t *testing.T) {
	r := newRig(t)
	r.git("config", "core.fsmonitor", "touch "+r.home+"/ran")
	r.git("config", "credential.helper", "store")
	r.git("remote", "add", "origin", "https://me:hunter2@git.example/x.git?token=hunter3")
	r.git("remote", "add", "over-ssh", "ssh://git:hunter4@git.example/x")
	r.git("remote", "add", "scp", "git@git.example:x")
	r.git("branch", "other")
	r.create("one")
	h := r.create("two")
	out := r.tool(h, "cat .git; cat /run/penstock/git/config; git branch -a; git config user.email")
	for _, bad := range []string{"hunter", "fsmonitor", "credential", "penstock/one"} {
		if strings.Contains(out, bad) {
			t.Errorf("the pen sees %s:\n%s", bad, out)
		}
	}
	for _, want := range []string{"https://git.example/x.git", "ssh://git@git.example/x", "git@git.example:x", "other", "* penstock/two", "user@host"} {
		if !strings.Contains(out, want) {
			t.Errorf("the pen has no %s:\n%s", want, out)
		}
	}
}
