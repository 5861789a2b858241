//go:build linux || darwin

package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadFile: what is no small file is refused at once, also a pipe that nobody
// writes to, and a file that is longer than it says.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int{"small": 10, "large": 11} {
		if err := os.WriteFile(at(name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("small", at("link")); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{at("small"): true, at("link"): true, at("large"): false, at("pipe"): false, dir: false, at("gone"): false,
		"/dev/zero": false, "/proc/self/status": false} {
		b, err := readFile(path, 10)
		if ok != (err == nil) || ok && len(b) != 10 {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
