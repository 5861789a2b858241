//go:build unix

package donate

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// TestUnlinked: the document can be read and not written, by who has the descriptor,
// and there is no name for anybody else.
func TestUnlinked(t *testing.T) {
	dir := t.TempDir()
	doc := bytes.Repeat([]byte("0123456789"), 1<<17)
	f, err := unlinked(dir, doc)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it has a name: %v, %v", left, err)
	}
	if fi, err := f.Stat(); err != nil || fi.Mode() != 0o600 || fi.Size() != int64(len(doc)) {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("it can be written")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("it can be cut")
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, doc) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := unlinked(dir+"/none", doc); err == nil {
		t.Error("without a directory")
	}
}
