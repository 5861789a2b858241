package microvm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirecrackerTry: with an imitation of Firecracker and its jailer, a kernel of this
// machine and the program as it is installed, the trial goes the whole way: the image is
// made, the program is started with what it takes, and says what booted. An imitation is no
// virtual machine: that a kernel boots in Firecracker is not shown here.
func TestFirecrackerTry(t *testing.T) {
	if list, err := filepath.Glob("/boot/vmlinuz-*"); err != nil || len(list) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a kernel is missing: run .ci/install")
		}
		t.Skip("a kernel is missing: run .ci/install")
	}
	dir := t.TempDir()
	build := func(name, pkg string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-C", "../../gvisor", "-buildvcs=false", "-o", name, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return name
	}
	program := build("firecracker", "./microvm/firecracker/imitation")
	self := filepath.Join(dir, "penstock")
	if p := os.Getenv("PENSTOCK_BIN"); p != "" {
		self = p
	} else {
		build(Program, "./microvm")
	}
	link := func(name string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.Link(program, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	kvm := filepath.Join(dir, "kvm")
	if err := os.WriteFile(kvm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := NewFirecracker(Options{Self: self, Cache: filepath.Join(dir, "cache")})
	f.monitor.programs, f.monitor.jailers, f.monitor.kvm = []string{program}, []string{link("jailer")}, kvm
	how := "as this user, without its jailer"
	if f.monitor.root {
		how = "in its jailer's jail"
	}
	said, err := f.Try(t.Context())
	if err != nil || said != `Firecracker "1.17.0-dev" booted a machine, `+how {
		t.Errorf("%q %v", said, err)
	}
	f.monitor.programs = []string{link("firecracker-refuses")}
	said, err = f.Try(t.Context())
	if said != "" || err == nil || !strings.Contains(err.Error(), "tier firecracker: boot a machine: exit status 125: ") ||
		!strings.Contains(err.Error(), "PUT /actions: status 400") || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%q %v", said, err)
	}
}
