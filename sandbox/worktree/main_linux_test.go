package worktree

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox/bwrap"
)

// rig is a user with a home, a repository with one commit, and a store.
type rig struct {
	t     testing.TB
	home  string
	repo  string
	store *Store
	env   []string
	spent map[string]time.Duration // by benchmarks
}

func newRig(t testing.TB) *rig {
	t.Helper()
	b, err := bwrap.New("")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, home: home, spent: map[string]time.Duration{}, repo: filepath.Join(home, "project")}
	r.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C"}
	r.write(".gitconfig", "[user]\n\tname = User\n\temail = user@host\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n")
	if r.store, err = Open(Options{Dir: filepath.Join(home, "state/worktrees"), Bwrap: b.Path(), Environ: r.env}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.repo, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q")
	r.write("project/a", "one\n")
	r.write("project/sub/b", "two\n")
	r.git("add", ".")
	r.git("commit", "-qm", "first")
	return r
}

// write makes a file below the home.
func (r *rig) write(name, content string) {
	r.t.Helper()
	writeFile(r.t, filepath.Join(r.home, name), content)
}

func writeFile(t testing.TB, p, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) read(name string) string {
	b, err := os.ReadFile(filepath.Join(r.home, name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// git is the user's own, in the repository.
func (r *rig) git(args ...string) string {
	r.t.Helper()
	out, err := r.tryGit(args...)
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (r *rig) tryGit(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", r.repo}, args...)...)
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// create makes a worktree of the repository.
func (r *rig) create(name string) *Held {
	r.t.Helper()
	repo, err := r.store.Inspect(context.Background(), r.repo)
	if err != nil {
		r.t.Fatal(err)
	}
	h, err := r.store.Create(context.Background(), repo, name, "tool")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { h.Close() })
	return h
}

// tool runs a script as a tool in a pen would: at the repository's place, with
// its own git directory, able to write both. The pen itself is tested by the
// whole program's scripts.
func (r *rig) tool(h *Held, script string) string {
	r.t.Helper()
	cmd := exec.Command(r.store.bwrap, "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--clearenv", "--setenv", "PATH", os.Getenv("PATH"), "--setenv", "HOME", "/tmp",
		"--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
		"--bind", h.Tree(), r.repo, "--bind", h.GitDir(), GitPath, "--ro-bind", filepath.Join(h.Common, "objects"), ObjectsPath, "--chdir", r.repo, "sh", "-euc", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("tool: %v\n%s", err, out)
	}
	return string(out)
}

// collect brings in and reports.
func (r *rig) collect(h *Held) *Report {
	r.t.Helper()
	if err := h.Collect(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	rep, err := h.Report(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}
