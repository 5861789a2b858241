package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/gvisor/microvm/image"
)

// missing ends a test for want of something that .ci/install installs.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run .ci/install", what)
	}
	t.Skipf("%s is missing: run .ci/install", what)
}

// TestVsockGuest: with the arguments that Firecracker's kernel gets, a distribution's kernel
// starts the guest, which loads the drivers for Firecracker's devices and listens at the
// port. The machine is QEMU's, which has no vsock device here: nobody can come.
func TestVsockGuest(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		missing(t, "QEMU")
	}
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		missing(t, "a kernel")
	}
	kernel := slices.Max(kernels)
	dir := t.TempDir()
	program := filepath.Join(dir, "penstock-microvm")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at := filepath.Join(dir, "image")
	if err := image.Make(at, kernel, filepath.Join("/lib/modules", strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")), program); err != nil {
		t.Fatal(err)
	}
	m := exec.Command(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256",
		"-kernel", filepath.Join(at, image.Kernel), "-initrd", filepath.Join(at, image.Initial), "-append", bootArguments(), "-serial", "stdio")
	out, err := m.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	defer m.Wait()         //nolint:errcheck // it was killed
	defer m.Process.Kill() //nolint:errcheck // it has ended
	var said []string
	for s := bufio.NewScanner(out); s.Scan(); {
		said = append(said, s.Text())
		if strings.Contains(s.Text(), "penstock guest: listens at port 1024 of vsock") {
			return
		}
	}
	t.Errorf("the machine ended: %q", said)
}
