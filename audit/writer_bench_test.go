package audit

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// benchWriter writes to a file in the temporary directory, emptied when it has
// grown large: what is measured is the record, not the disk.
func benchWriter(b *testing.B) *Writer {
	b.Helper()
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "s.jsonl"), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	w, err := NewWriter(f, "20261122-201501-x7k2q")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close() })
	return w
}

func BenchmarkAppend(b *testing.B) {
	w := benchWriter(b)
	e := openEvent()
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Append(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	w := benchWriter(b)
	e := openEvent()
	b.ReportAllocs()
	for b.Loop() {
		w.mu.Lock()
		if err := w.add(e); err != nil {
			b.Fatal(err)
		}
		w.cur.buf, w.cur.count, w.next = w.cur.buf[:0], 0, w.written
		w.mu.Unlock()
	}
}

// BenchmarkFlow is what a request costs: its open, waited for, and its close.
func BenchmarkFlow(b *testing.B) {
	w := benchWriter(b)
	open, end := openEvent(), closeEvent()
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Append(open); err != nil {
			b.Fatal(err)
		}
		w.Note(end)
	}
}

func BenchmarkAppend32(b *testing.B) {
	w := benchWriter(b)
	b.ReportAllocs()
	var wg sync.WaitGroup
	var mu sync.Mutex
	left := 0
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left >= 0
	}
	left = b.N
	b.ResetTimer()
	for range 32 {
		wg.Go(func() {
			e := openEvent()
			for next() {
				if err := w.Append(e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
