package worktree

import (
	"context"
	"testing"
)

// BenchmarkWorktree is a whole life with nothing to do in between: what a session
// pays for it.
func BenchmarkWorktree(b *testing.B) {
	r := newRig(b)
	ctx := context.Background()
	step := func(name string, f func()) {
		begin := b.Elapsed()
		f()
		b.ReportMetric(0, "ns/op")
		r.spent[name] += b.Elapsed() - begin
	}
	n := 0
	for b.Loop() {
		n++
		var h *Held
		step("create", func() { h = r.create("bench") })
		writeFile(b, h.Tree()+"/new", "x")
		step("collect", func() { r.collect(h) })
		step("remove", func() {
			if _, err := h.Remove(ctx, false); err != nil {
				b.Fatal(err)
			}
		})
	}
	for name, d := range r.spent {
		b.ReportMetric(float64(d.Milliseconds())/float64(n), "ms-"+name)
	}
}
