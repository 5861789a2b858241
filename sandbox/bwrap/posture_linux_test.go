package bwrap

import (
	"os"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/posture"
)

// stdio opens /dev/null three times.
func stdio(t testing.TB) []*os.File {
	t.Helper()
	var out []*os.File
	for range 3 {
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		out = append(out, f)
	}
	return out
}

// held starts a pen and observes it.
func held(t *testing.T, s *sandbox.Spec) (*running, *posture.Expectation, *posture.Observation) {
	t.Helper()
	files := stdio(t)
	r, err := start(t, s, files...)
	if err != nil {
		t.Fatal(err)
	}
	e := r.expect(t, s)
	for i, f := range files {
		if e.Stdio[i], err = posture.Identify(f); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	o, err := posture.Read(r.proc.PID)
	t.Logf("observed in %v, %d mounts", time.Since(begin), len(o.Mounts))
	if err != nil {
		t.Fatal(err)
	}
	return r, e, o
}

func TestPostureHolds(t *testing.T) {
	home, work := homeWith(t, ".ssh/id", "project/.git/config", "project/.git/hooks/pre-commit")
	direct := plain(t, "true")
	direct.Env = append(direct.Env, withoutBuilder)
	for name, s := range map[string]*sandbox.Spec{
		"plain":           plain(t, "true"),
		"mounts by bwrap": direct,
		"laid":            laid(t, home, work, func(in *layout.Input) { in.Read = []string{home} }, "true"),
	} {
		t.Run(name, func(t *testing.T) {
			r, e, o := held(t, s)
			if err := posture.Check(e, o); err != nil {
				t.Fatal(err)
			}
			if code := r.finish(t); code != 0 {
				t.Error(code)
			}
		})
	}
}
