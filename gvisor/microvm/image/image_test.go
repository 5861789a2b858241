package image

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMake: from a kernel of this machine an image is made whose modules come in an order
// in which each finds what it needs, and whose archive is one.
func TestMake(t *testing.T) {
	kernels, _ := filepath.Glob("/boot/vmlinuz-*")
	if len(kernels) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("no kernel in /boot: run .ci/install")
		}
		t.Skip("no kernel in /boot")
	}
	kernel := slices.Max(kernels)
	modules := filepath.Join("/lib/modules", strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "image")
	for range 2 { // another session may have been first
		if err := Make(dir, kernel, modules, self); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, Kernel))
	if err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
		t.Errorf("the kernel is not extracted: %v", err)
	}
	for _, drivers := range [][]string{Drivers(), VsockDrivers()} {
		order, files, err := Collect(modules, drivers)
		if err != nil || len(order) == 0 {
			t.Fatal(order, err)
		}
		loaded := map[string]bool{}
		for _, name := range order {
			needs, err := depends(files[name])
			if err != nil {
				t.Error(err)
			}
			for _, n := range needs {
				if !loaded[n+".ko"] && files[n+".ko"] != nil {
					t.Errorf("%s is loaded before %s", name, n)
				}
			}
			loaded[name] = true
		}
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio to read it with")
	}
	f, err := os.Open(filepath.Join(dir, Initial))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdin = f
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\ninit\n") || !strings.Contains(string(out), "modules/9p.ko\n") || !strings.Contains(string(out), "modules/order-vsock\n") {
		t.Errorf("%v: %s", err, out)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the image there is %v %v", left, err)
	}
}

// TestExtract: what is no compressed kernel stays as it is, whatever it says of itself.
func TestExtract(t *testing.T) {
	header := func(at, n uint32, payload string) []byte {
		b := make([]byte, 1024)
		b[0x1f1] = 1
		copy(b[0x202:], "HdrS")
		binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
		binary.LittleEndian.PutUint32(b[0x248:], at)
		binary.LittleEndian.PutUint32(b[0x24c:], n)
		return append(b, payload...)
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"no kernel":           []byte("text"),
		"a payload elsewhere": header(1<<31, 1<<31, ""),
		"of no length":        header(0, 0, "x"),
		"of unknown kind":     header(0, 4, "abcd"),
		"short":               header(0, 2, "\xfd7"),
		"half compressed":     header(0, 10, "\xfd7zXZ\x00\x00\x04abcd"),
		"not a program":       header(0, 25, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"+"12345"),
	} {
		if got := Extract(b); !bytes.Equal(got, b) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
