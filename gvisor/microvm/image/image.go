// Package image makes what a machine boots: the kernel as QEMU starts it fastest, and
// an initial file system with the modules that it needs and this program as its first
// process.
//
// # Hazards
//
// It reads a kernel that the machine's administrator installed, with the caller's
// rights, and writes where no pen can: what it made is what later machines start.
// Everything is written beside and renamed, so that half of it is never one.
package image

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/penstock/penstock/gvisor/microvm/guest"
)

// The files of an image.
const (
	Kernel  = "kernel"
	Initial = "initrd"
)

// Make writes an image to a directory, which it makes, from the kernel in a file, the
// directory of its modules and the program that is the guest's first process.
func Make(dir, kernel, modules, program string) error {
	compressed, err := os.ReadFile(kernel)
	if err != nil {
		return fmt.Errorf("read the kernel: %w", err)
	}
	self, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read the guest's program: %w", err)
	}
	order, files, err := Collect(modules, Drivers())
	if err != nil {
		return err
	}
	// Without them the machine is QEMU's only.
	vsock, more, missing := Collect(modules, VsockDrivers())
	maps.Copy(files, more)
	var b bytes.Buffer
	a := archive{w: &b}
	for _, d := range []string{"dev", "proc", "sys", "root", "modules"} {
		a.directory(d)
	}
	a.device("dev/console", 5, 1)
	a.device("dev/null", 1, 3)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		a.file("modules/"+name, 0o644, files[name])
	}
	a.file(guest.Order[1:], 0o644, list(order))
	if missing == nil {
		a.file(guest.VsockOrder[1:], 0o644, list(vsock))
	}
	a.file("init", 0o755, self)
	a.close()

	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".image-*")
	if err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // it is gone, or in nobody's way
	for name, content := range map[string][]byte{Kernel: Extract(compressed), Initial: b.Bytes()} {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o600); err != nil {
			return fmt.Errorf("write the image: %w", err)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, there := os.Stat(filepath.Join(dir, Initial)); there == nil {
			return nil // another session made it meanwhile
		}
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

func list(names []string) []byte {
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%s\n", name)
	}
	return b.Bytes()
}
