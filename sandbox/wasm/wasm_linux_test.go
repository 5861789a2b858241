package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCache: a module's directory is writable until something was compiled into it,
// and of too many the oldest one goes.
func TestCache(t *testing.T) {
	base, module := t.TempDir(), filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(module, []byte("\x00asm"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for i := range maxCached {
		dir := filepath.Join(base, "wasm", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, old, old.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	m, digest, err := cache(base, module)
	if err != nil || digest == "" || !m.Write || m.Target != CachePath {
		t.Fatalf("%+v %q %v", m, digest, err)
	}
	for name, there := range map[string]bool{"0": false, "1": true, digest: true} {
		if _, err := os.Stat(filepath.Join(base, "wasm", name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		file  string
		write bool
	}{{"half.tmp", true}, {"whole", false}} {
		if err := os.WriteFile(filepath.Join(m.Source, tt.file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, _, err := cache(base, module); err != nil || m.Write != tt.write {
			t.Errorf("with %s: %+v %v", tt.file, m, err)
		}
	}
	if _, digest, err := cache(base, filepath.Join(base, "none")); err != nil || digest != "" {
		t.Errorf("no module: %q %v", digest, err)
	}
}
