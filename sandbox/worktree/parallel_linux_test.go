package worktree

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

// TestWorktreeParallel: many of one name at once, while others list and remove.
func TestWorktreeParallel(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	repo, err := r.store.Inspect(ctx, r.repo)
	if err != nil {
		t.Fatal(err)
	}
	const workers, rounds = 6, 4
	var all, lister sync.WaitGroup
	stop := make(chan struct{})
	lister.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := r.store.List(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var mu sync.Mutex
	used := map[string]bool{}
	for i := range workers {
		all.Go(func() {
			for range rounds {
				h, err := r.store.Create(ctx, repo, "x", "tool")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if used[h.Name] {
					t.Errorf("two are called %s", h.Name)
				}
				used[h.Name] = true
				mu.Unlock()
				writeFile(t, filepath.Join(h.Tree(), fmt.Sprintf("by-%d", i)), "x")
				if err := h.Collect(ctx); err != nil {
					t.Error(err)
				} else if rep, err := h.Report(ctx); err != nil || len(rep.Changes) != 1 {
					t.Errorf("report %+v, %v", rep, err)
				}
				mu.Lock()
				delete(used, h.Name)
				mu.Unlock()
				if _, err := h.Remove(ctx, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	lister.Wait()
	if list, err := r.store.List(); err != nil || len(list) != 0 {
		t.Errorf("left: %+v, %v", list, err)
	}
	if s := r.git("for-each-ref", "refs/heads/penstock"); s != "" {
		t.Errorf("left: %s", s)
	}
	r.git("fsck", "--strict")
}
