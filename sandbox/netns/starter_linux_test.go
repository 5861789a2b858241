package netns

import (
	"io"
	"os"
	"testing"
	"time"
)

// TestStarterGone: a builder whose starter has given up ends, and says nothing: the
// starter says why.
func TestStarterGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	b, err := Prepare("/proc/self/exe", [3]*os.File{null, null, w}, Options{})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.control.Close()
	select {
	case <-b.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	if said, err := io.ReadAll(r); err != nil || len(said) > 0 {
		t.Errorf("it said %q, %v", said, err)
	}
}
