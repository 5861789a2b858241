package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// file is a buffer that can be closed.
type file struct {
	mu sync.Mutex
	bytes.Buffer
	gate chan struct{} // nil: open
}

func (f *file) Write(b []byte) (int, error) {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Buffer.Write(b)
}

func (*file) Close() error { return nil }

func TestWriter(t *testing.T) {
	var f file
	w := NewWriter(&f, 1<<20)
	var wg sync.WaitGroup
	for i := range uint64(50) {
		wg.Go(func() {
			if err := w.Put(&Exchange{Flow: i + 1, Request: &Message{Header: [][2]string{{"A", "\"\n{"}}, Body: []byte(fmt.Sprint("body ", i+1, "\n"))}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Put(&Exchange{Flow: 1}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	f.WriteString(`{"flow":7,"request":{"body":"dG9yb`) // of a proxy that was killed
	x, err := Read(bytes.NewReader(f.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(50) {
		e, err := x.Of(i + 1)
		if err != nil || string(e.Request.Body) != fmt.Sprint("body ", i+1, "\n") || e.Request.Header[0][1] != "\"\n{" || e.Response != nil {
			t.Fatalf("%d: %+v, %v", i, e, err)
		}
	}
	if e, err := x.Of(51); e != nil || err != nil {
		t.Errorf("%v, %v", e, err)
	}
}

// The file, the memory and the queue have an end.
func TestBounds(t *testing.T) {
	var f file
	w := NewWriter(&f, 100)
	small := &Exchange{Flow: 1}
	for range 7 { // of 11 bytes with the new line, and room for one more
		if err := w.Put(small); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Put(&Exchange{Flow: 1, Request: &Message{Body: make([]byte, 100)}}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if err := w.Put(small); err != nil {
		t.Error(err)
	}
	if w.Hold(maxMemory-10) != nil || !errors.Is(w.Hold(11), ErrMemory) || w.Hold(10) != nil {
		t.Error("the memory has no end")
	}
	w.Release(10)
	if err := w.Hold(10); err != nil {
		t.Error(err)
	}
	w.Close()
	if f.Len() > 100 {
		t.Errorf("%d bytes", f.Len())
	}

	slow := file{gate: make(chan struct{})}
	w = NewWriter(&slow, MaxFile)
	var err error
	for range maxQueue + 2 { // one is being written
		err = w.Put(small)
	}
	if !errors.Is(err, ErrMemory) {
		t.Errorf("a disk that hangs: %v", err)
	}
	close(slow.gate)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// A disk that fills in the middle loses what comes later, and says how much.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		if f, err = os.Open(filepath.Join(t.TempDir())); err != nil { // a directory takes no bytes either
			t.Fatal(err)
		}
	}
	w := NewWriter(f, MaxFile)
	for range 3 {
		w.Put(&Exchange{Flow: 1}) //nolint:errcheck // some may be refused already
	}
	if err := w.Close(); err == nil || w.Lost() == 0 || w.Put(&Exchange{Flow: 2}) == nil || w.Hold(1) == nil {
		t.Errorf("%v, %d lost", err, w.Lost())
	}
}

// FuzzRead holds that no file makes the reader fail, and that what it gives is of
// the flow that was asked for.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"flow":1,"request":{"header":[["a","b"]],"body":"eA=="}}`+"\n"), uint64(1))
	f.Add([]byte("\n{}\n[1]\n{\"flow\":2}\n{\"flow\":2,\"response\":{\"body\":1}}\n{\"flow\":3"), uint64(2))
	f.Add([]byte(strings.Repeat("x", 1<<16)+"\n"), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, flow uint64) {
		x, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		e, err := x.Of(flow)
		if err == nil && e != nil && (e.Flow != flow || flow == 0) {
			t.Fatalf("%+v is not of flow %d", e, flow)
		}
	})
}
