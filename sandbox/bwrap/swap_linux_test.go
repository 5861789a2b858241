package bwrap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox/posture"
)

// TestSwappedForALink: another session, which may write the work directory too,
// replaces a protected directory by a link between planning and mounting. The
// pen must not start, or not with what the link leads to.
func TestSwappedForALink(t *testing.T) {
	for _, c := range []struct{ name, swap string }{
		{"protected directory", ".git/hooks"},
		{"directory above it", ".git"},
		{"protected file", ".git/config"},
	} {
		for _, marker := range []string{"", withoutBuilder} {
			t.Run(c.name+" "+marker, func(t *testing.T) {
				home, work := homeWith(t, ".ssh/hooks/x", ".ssh/config", "project/.git/config", "project/.git/hooks/pre-commit", "project/.git/HEAD")
				s := laid(t, home, work, nil, "sh", "-c", "cat .git/hooks/* .git/config")
				s.Env = append(s.Env, marker)
				p := filepath.Join(work, c.swap)
				if err := os.Rename(p, p+".moved"); err != nil {
					t.Fatal(err)
				}
				to := filepath.Join(home, ".ssh")
				if c.swap != ".git" {
					to = filepath.Join(to, filepath.Base(c.swap))
				}
				if err := os.Symlink(to, p); err != nil {
					t.Fatal(err)
				}
				files := stdio(t)
				r, err := start(t, s, files...)
				if err != nil {
					return // the builder or bwrap refused
				}
				e := r.expect(t, s)
				for i, f := range files {
					e.Stdio[i], _ = posture.Identify(f)
				}
				o, err := posture.Read(r.proc.PID)
				if err != nil {
					t.Fatal(err)
				}
				err = posture.Check(e, o)
				var m posture.Mismatch
				if !errors.As(err, &m) {
					t.Fatalf("the pen would have been released: %v", err)
				}
				t.Log(err)
			})
		}
	}
}

// TestNothingIsMadeOnTheHost: a plan that no longer fits must not make mount
// points on the host's disk.
func TestNothingIsMadeOnTheHost(t *testing.T) {
	home, work := homeWith(t, "project/.git/config", "project/.git/hooks/pre-commit", "project/.git/HEAD")
	s := laid(t, home, work, nil, "true")
	for i := range s.Mounts {
		if strings.HasSuffix(s.Mounts[i].Target, "/.git/hooks") {
			s.Mounts[i].Target = filepath.Join(work, "not/there")
		}
	}
	if r, err := start(t, s); err == nil {
		t.Errorf("started: %v", r.proc)
	}
	if _, err := os.Lstat(filepath.Join(work, "not")); err == nil {
		t.Error("a mount point was made on the host")
	}
}
