package workcopy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rig is a work directory, what is beside it, and the copy.
type rig struct {
	t    testing.TB
	top  string
	work string
	copy string
	m    *Manifest
	left []Left
}

// protected are names as a plan of package layout has them.
func protected() []string {
	return []string{".git/hooks", ".git/config", ".vscode", ".penstock.yaml"}
}

// begin is a work directory of every kind of thing.
const begin = `
mkdir -p .git/hooks .git/refs src/deep/er empty shut
echo '#!/bin/sh' >.git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit; echo '[core]' >.git/config; echo ref >.git/refs/main
echo one >a; echo two >src/b; printf 'x\ny\nz\n' >src/deep/er/c; echo run >src/run; chmod 750 src/run
ln -s src/b link; ln -s /nowhere/at/all gone; echo secret >.env; echo keep >shut/k; chmod 500 shut
ln a src/a-too; mkfifo pipe; printf 'odd' >"$(printf 'new\nline\033[2J')"; chmod 711 src/deep`

func newRig(t testing.TB) *rig {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, top: top, work: top + "/work", copy: top + "/copy"}
	t.Cleanup(func() { r.sh(top, "chmod -R u+rwx .") })
	r.sh(top, "mkdir work outside; echo precious >outside/file; chmod 600 outside/file")
	r.sh(r.work, begin)
	r.out()
	return r
}

func (r *rig) out() {
	r.t.Helper()
	var err error
	if r.m, r.left, err = Out(context.Background(), r.work, r.copy, protected(), []string{".env"}, Limits{}); err != nil {
		r.t.Fatal(err)
	}
}

// sh runs a script of the tool's, or of the user's.
func (r *rig) sh(dir, script string) {
	r.t.Helper()
	cmd := exec.Command("sh", "-euc", "umask 022\n"+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TOP="+r.top)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (r *rig) changes() *Changes {
	r.t.Helper()
	c, err := r.m.Changes(context.Background(), r.copy, Limits{})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) bring(c *Changes) *Brought {
	r.t.Helper()
	b, err := r.m.Bring(context.Background(), c, r.copy, r.work)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (c *Changes) text() string {
	var b strings.Builder
	c.Write(&b, 0)
	return b.String()
}

// tree is what is in a directory, a line for each name.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&b, "%06o %q", st.Mode, rel)
		switch {
		case e.Type() == fs.ModeSymlink:
			to, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %q", to)
		case e.Type().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// without leaves out the lines of tree that are about a name.
func without(tree string, names ...string) string {
	var b strings.Builder
	for _, l := range strings.SplitAfter(tree, "\n") {
		keep := true
		for _, n := range names {
			keep = keep && !strings.Contains(l, fmt.Sprintf(" %q", n))
		}
		if keep {
			b.WriteString(l)
		}
	}
	return b.String()
}

// descriptors are those of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
