package audit

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func TestAppendDoesNotAllocate(t *testing.T) {
	w, _ := newWriter(t)
	host, path := strings.Clone("api.example.com"), strings.Clone("/v1/é/\x1b")
	check := func(name string, f func()) {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	check("flow_open", func() {
		e := FlowOpen{Flow: 1, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: host, Port: 443}, Method: "GET", Path: path, Query: "a=b&c", Verdict: hooks.Allow, Rule: "p.yaml:3"}
		if err := w.Append(&e); err != nil {
			t.Fatal(err)
		}
	})
	check("flow_close", func() {
		w.Note(&FlowClose{Flow: 1, BytesUp: 1, BytesDown: 2, Status: 200})
	})
	check("dns", func() { w.Note(&DNS{Name: host, QType: "A"}) })
}

// Every goroutine's records are in its order, none is lost, none is there twice,
// and each is in the file when Append has returned.
func TestConcurrentAppends(t *testing.T) {
	s := newStore(t)
	ses, w := begin(t, s)
	const writers, each = 16, 200
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				if err := w.Append(&FlowOpen{Flow: uint64(g*each + i + 1)}); err != nil {
					t.Error(err)
					return
				}
				w.Note(&FlowClose{Flow: uint64(g*each + i + 1)})
				if i%50 == 0 {
					if err := w.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() { // a reader of the state beside it
		for range 100 {
			seq, _ := w.Head()
			fi, err := os.Stat(ses.Path)
			if err != nil || fi.Size() < int64(seq) {
				t.Errorf("head is ahead of the file: %v, %v", fi, err)
			}
			w.Counts()
		}
	})
	wg.Wait()
	seal(t, ses, w)
	r := verify(t, s, VerifyOptions{})
	if !r.Whole() || r.Sessions[0].Records != 2*writers*each {
		t.Fatalf("verify: %+v", r)
	}
	f, err := s.OpenSession(ses.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last := map[uint64]uint64{}
	seen := map[uint64]int{}
	for in := NewScanner(f); in.Scan(); {
		rec, err := ParseRecord(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		seen[rec.Flow]++
		if g := (rec.Flow - 1) / each; rec.Type == TypeFlowOpen {
			if rec.Flow <= last[g] && last[g] > 0 {
				t.Fatalf("flow %d after %d", rec.Flow, last[g])
			}
			last[g] = rec.Flow
		}
	}
	for n, times := range seen {
		if times != 2 {
			t.Errorf("flow %d has %d records", n, times)
		}
	}
	if c := w.Counts(); c.Denied != writers*each || c.Lost != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestNoteIsWrittenSoon(t *testing.T) {
	w, path := newWriter(t)
	w.Note(&DNS{Name: "a.example"})
	// The kernel tells no one; Flush is what a reader would wait for.
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Contains(b, []byte("a.example")) {
		t.Errorf("file: %s", b)
	}
	done := make(chan struct{})
	w.Note(&DNS{Name: "b.example"})
	go func() {
		defer close(done)
		for {
			if seq, _ := w.Head(); seq == 2 {
				return
			}
		}
	}()
	<-done // by the timer alone
}

func TestNoteIsBounded(t *testing.T) {
	w, path := newWriter(t)
	// As if a write hung: nothing is taken out of the pending records.
	w.mu.Lock()
	w.writing = true
	w.mu.Unlock()
	const n = 5000
	for range n {
		w.Note(&DNS{Name: strings.Repeat("a", 200)})
	}
	w.mu.Lock()
	pending, lost := len(w.cur.buf), w.lost[lostMemory]
	w.writing = false
	w.mu.Unlock()
	if pending > maxPending+4096 || lost == 0 {
		t.Fatalf("%d bytes pending, %d lost", pending, lost)
	}
	if err := w.Append(openEvent()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.Counts(); got.Lost != lost || got.DNS+got.Lost != n {
		t.Errorf("counts %+v, lost %d", got, lost)
	}
	b, _ := os.ReadFile(path)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if l := lines[len(lines)-2]; !bytes.Contains(l, []byte(`"type":"loss"`)) || !bytes.Contains(l, []byte("too many pending")) {
		t.Errorf("before the last record stands %s", l)
	}
}

func TestClosedWriter(t *testing.T) {
	w, _ := newWriter(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	err := w.Append(openEvent())
	var we *WriteError
	if !errors.Is(err, ErrClosed) || !errors.As(err, &we) || we.Hint() == "" {
		t.Errorf("append after close: %v", err)
	}
	w.Note(openEvent())
	if err := w.Flush(); err != nil {
		t.Errorf("flush after close: %v", err)
	}
}

func TestNothingAfterTheEnd(t *testing.T) {
	w, path := newWriter(t)
	w.Note(closeEvent()) // pending, goes before it
	if err := w.Append(&SessionEnd{}); err != nil {
		t.Fatal(err)
	}
	seq, head := w.Head()
	w.Note(closeEvent())
	if err := w.Append(openEvent()); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n, h := w.Head(); n != seq || h != head || n != 2 {
		t.Errorf("head moved from %d to %d", seq, n)
	}
	if b, _ := os.ReadFile(path); bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("file: %s", b)
	}
}

// A descriptor that is gone under the writer is an error, every time.
func TestLostDescriptor(t *testing.T) {
	w, _ := newWriter(t)
	if err := w.Append(openEvent()); err != nil {
		t.Fatal(err)
	}
	var said []error
	w.OnFailure(func(err error) { said = append(said, err) })
	w.f.Close()
	for range 3 {
		if err := w.Append(openEvent()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("append: %v", err)
		}
	}
	if len(said) != 1 {
		t.Errorf("said %d times", len(said))
	}
	if c := w.Counts(); c.Allowed != 1 || c.Lost != 3 {
		t.Errorf("counts %+v", c)
	}
}

func TestContinueAfterDeadWriter(t *testing.T) {
	for _, tc := range []struct{ name, torn string }{
		{"whole", ""},
		{"torn", `{"schema":1,"session":"s","seq":3,"ti`},
		{"zeros", "\x00\x00\x00\x00"},
		{"long", strings.Repeat("x", 300<<10)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, path := newWriter(t)
			for range 2 {
				if err := w.Append(openEvent()); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tc.torn); err != nil {
				t.Fatal(err)
			}
			w, err = NewWriter(f, "s")
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Append(&SessionEnd{Reason: "proxy died"}); err != nil {
				t.Fatal(err)
			}
			w.Close()
			b, _ := os.ReadFile(path)
			r := Result{}
			walk(bytes.NewReader(b), "s", &r, nil)
			want := uint64(3)
			if tc.torn != "" {
				want = 4
			}
			if len(r.Problems) > 0 || r.Records != want || r.Torn != 0 || r.Lost != want-3 {
				t.Errorf("%+v", r)
			}
			if tc.name == "torn" && !bytes.Contains(b, []byte(`"torn":"{\"schema\":1`)) {
				t.Errorf("what was torn is not kept: %s", b)
			}
		})
	}
	t.Run("not ours", func(t *testing.T) {
		_, path := newWriter(t)
		if err := os.WriteFile(path, []byte("something else\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := NewWriter(f, "s"); !errors.Is(err, errNoRecord) {
			t.Errorf("continued: %v", err)
		}
	})
}
