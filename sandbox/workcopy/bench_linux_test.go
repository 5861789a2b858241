package workcopy

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkThereAndBack: 10,000 small files out, a tenth of them edited, compared, and
// brought back.
func BenchmarkThereAndBack(b *testing.B) {
	ctx := context.Background()
	top := b.TempDir()
	work := top + "/work"
	name := func(root string, i int) string { return fmt.Sprintf("%s/d%02d/e%d/f%d", root, i%100, i/100%10, i) }
	for i := range 10_000 {
		if err := os.MkdirAll(filepath.Dir(name(work, i)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name(work, i), bytes.Repeat([]byte{byte(i)}, 1000+i%5000), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	n, spent := 0, map[string]time.Duration{}
	for b.Loop() {
		if b.StopTimer(); n > 0 {
			os.RemoveAll(fmt.Sprint(top, "/copy", n))
		}
		n++
		b.StartTimer()
		dst := fmt.Sprint(top, "/copy", n)
		begin := b.Elapsed()
		m, _, err := Out(ctx, work, dst, nil, nil, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		spent["out"] += b.Elapsed() - begin
		b.StopTimer() // the tool's own work
		for i := 0; i < 10_000; i += 10 {
			if err := os.WriteFile(name(dst, i), fmt.Append(nil, n, i), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		begin = b.Elapsed()
		if m, err = Decode(m.Encode()); err != nil {
			b.Fatal(err)
		}
		c, err := m.Changes(ctx, dst, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		spent["compare"] += b.Elapsed() - begin
		begin = b.Elapsed()
		got, err := m.Bring(ctx, c, dst, work)
		if err != nil || got.Done != 1000 {
			b.Fatal(got, err)
		}
		spent["back"] += b.Elapsed() - begin
	}
	for name, d := range spent {
		b.ReportMetric(float64(d.Milliseconds())/float64(n), "ms-"+name)
	}
}
