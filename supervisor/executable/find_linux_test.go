package executable

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFinder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool := write("tool", "\x7fELF tool", 0o755)
	one, err := Finder(true)(tool)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(tool, &st); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("\x7fELF tool"))
	if len(one) == 0 || one[0].Dev != st.Dev || one[0].Ino != st.Ino || one[0].SHA256 != hex.EncodeToString(sum[:]) || one[0].Path != tool {
		t.Errorf("got %+v, want device %d, inode %d", one, st.Dev, st.Ino)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("tool", link); err != nil {
		t.Fatal(err)
	}
	if by, err := Finder(false)(link); err != nil || by[0].Ino != one[0].Ino || by[0].Dev != one[0].Dev || by[0].SHA256 != "" {
		t.Errorf("by a link: %+v, %v", by, err)
	}
	if other, err := Finder(false)(write("copy", "\x7fELF tool", 0o755)); err != nil || other[0].Ino == one[0].Ino {
		t.Errorf("a copy: %+v, %v", other, err)
	}
	for name, text := range map[string]string{"none": "", "byte": "x"} {
		sum := sha256.Sum256([]byte(text))
		if tiny, err := Finder(true)(write("tiny-"+name, text, 0o755)); err != nil || tiny[0].SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %+v, %v", name, tiny, err)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("script", "#!/bin/sh\n", 0o755): "its interpreter",
		write("data", "x", 0o644):             "not executable",
		dir:                                   "not a regular file",
		fifo:                                  "not a regular file",
		filepath.Join(dir, "gone"):            "no such file",
	} {
		if _, err := Finder(false)(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestFinderNamesTheFileSystem: a file has the device that its mount has in the
// kernel's own table, whatever stat(2) says.
func TestFinderNamesTheFileSystem(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := ReadMounts()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, self, 0, unix.STATX_MNT_ID, &st); err != nil {
		t.Fatal(err)
	}
	own, ok := m[st.Mnt_id]
	if !ok {
		t.Fatalf("mount %d is not in the table", st.Mnt_id)
	}
	devices := func(m Mounts) (out []uint64) {
		found, err := m.Finder(false)(self)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			out = append(out, x.Dev)
		}
		return out
	}
	if !slices.Contains(devices(m), own) {
		t.Errorf("%v lacks %d", devices(m), own)
	}
	if got := devices(Mounts{st.Mnt_id: 4711}); len(got) != 2 || got[1] != 4711 {
		t.Errorf("on a file system of another number: %v", got)
	}
	if got := devices(nil); len(got) != 1 {
		t.Errorf("without a table: %v", got)
	}
	got := parseMounts("22 1 0:19 / /sys rw - sysfs sysfs rw\n23 22 259:3 /a /b rw\nx\n\n24 1 nothing / /\n")
	if len(got) != 2 || got[22] != unix.Mkdev(0, 19) || got[23] != unix.Mkdev(259, 3) {
		t.Errorf("parsed %v", got)
	}
}
