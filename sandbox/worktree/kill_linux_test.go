package worktree

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lifeVariable tells this test binary to live a worktree's life instead of
// testing; its value is the home of a rig.
const lifeVariable = "PENSTOCK_TEST_WORKTREE_LIFE"

// TestWorktreeLife is not a test but the process that TestWorktreeKilled kills.
func TestWorktreeLife(t *testing.T) {
	home := os.Getenv(lifeVariable)
	if home == "" {
		return // run by TestWorktreeKilled
	}
	ctx := context.Background()
	store, err := Open(Options{Dir: filepath.Join(home, "state/worktrees"), Bwrap: os.Getenv(lifeVariable + "_BWRAP"), Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := store.Inspect(ctx, filepath.Join(home, "project"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := store.Create(ctx, repo, "life", "tool")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, h.Tree()+"/made", "x")
	if err := h.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Remove(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// TestWorktreeKilled kills a process at random moments of a worktree's life. What
// it leaves is listed and can be brought in or removed; the repository is whole.
func TestWorktreeKilled(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	// What the killed process started is this one's to wait for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	live := func(after time.Duration) time.Duration {
		begin := time.Now()
		cmd := exec.Command(os.Args[0], "-test.run=^TestWorktreeLife$")
		cmd.Env = append(r.env, lifeVariable+"="+r.home, lifeVariable+"_BWRAP="+r.store.bwrap)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		killer.Stop()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
			t.Fatal(err)
		}
		for {
			if _, err := unix.Wait4(-1, nil, 0, nil); err == unix.ECHILD {
				break
			}
		}
		return time.Since(begin)
	}
	whole := live(time.Minute)
	const rounds = 40
	states := map[State]int{}
	for range rounds {
		live(time.Duration(rand.Int64N(int64(whole))))
		list, err := r.store.List()
		if err != nil || len(list) > 1 {
			t.Fatalf("list: %+v, %v", list, err)
		}
		for _, e := range list {
			states[e.State]++
			h, err := r.store.Hold(e.ID)
			if err != nil {
				t.Fatalf("%s: %v", e.State, err)
			}
			if e.State == Left || e.State == Kept {
				if _, err := os.Stat(e.Dir); err == nil {
					if err := h.Collect(ctx); err != nil {
						t.Errorf("%s: %v", e.State, err)
					}
				}
			}
			if _, err := h.Remove(ctx, false); err != nil {
				t.Fatalf("%s: %v", e.State, err)
			}
		}
		if left, _ := filepath.Glob(r.store.Dir() + "/*/*"); len(left) != 0 {
			t.Fatalf("left: %q", left)
		}
		if s := r.git("for-each-ref", "refs/heads/penstock"); s != "" {
			t.Fatalf("left: %s", s)
		}
		if s := r.git("status", "--porcelain"); s != "" {
			t.Fatalf("status: %s", s)
		}
	}
	if s := r.git("fsck", "--strict"); strings.Contains(s, "error") {
		t.Error(s)
	}
	t.Logf("of %d killed lives of %s: %v", rounds, whole, states)
}
