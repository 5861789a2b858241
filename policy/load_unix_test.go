//go:build unix

package policy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFIFODoesNotBlock: a repository may hold a FIFO in its policy's place.
func TestFIFODoesNotBlock(t *testing.T) {
	path := t.TempDir() + "/" + ProjectFile
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(LoadOptions{Project: path, TrustProject: true}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a FIFO: %v", err)
	}
}
