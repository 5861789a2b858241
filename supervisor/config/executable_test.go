//go:build unix

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestExecutables(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool := write("tool", "\x7fELF tool", 0o755)
	one, err := Executables(true)(tool)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("\x7fELF tool"))
	if len(one) != 1 || one[0].Ino == 0 || one[0].SHA256 != hex.EncodeToString(sum[:]) || one[0].Path != tool {
		t.Errorf("got %+v", one)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("tool", link); err != nil {
		t.Fatal(err)
	}
	if by, err := Executables(false)(link); err != nil || by[0].Ino != one[0].Ino || by[0].Dev != one[0].Dev || by[0].SHA256 != "" {
		t.Errorf("by a link: %+v, %v", by, err)
	}
	if other, err := Executables(false)(write("copy", "\x7fELF tool", 0o755)); err != nil || other[0].Ino == one[0].Ino {
		t.Errorf("a copy: %+v, %v", other, err)
	}
	if tiny, err := Executables(true)(write("tiny", "x", 0o755)); err != nil || tiny[0].SHA256 != "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" {
		t.Errorf("a byte: %+v, %v", tiny, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("script", "#!/bin/sh\n", 0o755): "its interpreter",
		write("data", "x", 0o644):             "not executable",
		dir:                                   "not a regular file",
		fifo:                                  "not a regular file",
		filepath.Join(dir, "none"):            "no such file",
	} {
		if _, err := Executables(false)(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestResolveProcess: a run knows which files its rules mean, or does not start.
func TestResolveProcess(t *testing.T) {
	dir := t.TempDir()
	h := &Host{Home: dir, Dir: dir, Environ: []string{"HOME=" + dir}}
	file := filepath.Join(dir, "p.yaml")
	for exe, want := range map[string]string{"/bin/sh": "", "/no/such": "p.yaml:2:18: the executable \"/no/such\" of rule"} {
		if err := os.WriteFile(file, []byte("version: 1\negress: {allow: [{host: a.example, process: {exe: "+exe+"}}]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Resolve(&Options{Command: []string{"true"}, Policies: []string{file}}, h)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", exe, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Policy.MarshalJSON()
		if err != nil || !strings.Contains(string(b), `"resolved":[{"dev":`) {
			t.Errorf("%s: %s, %v", exe, b, err)
		}
	}
}
