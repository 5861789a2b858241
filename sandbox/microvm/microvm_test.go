package microvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// plain is a pen that can be had anywhere.
type plain struct{ sandbox.Backend }

func (plain) Probe(context.Context) ([]sandbox.Capability, error) {
	return []sandbox.Capability{{Control: "kernel", State: sandbox.Unavailable}, {Control: "network", State: sandbox.Enforced}}, nil
}

func (plain) Prepare(*sandbox.Spec) error { return nil }

// TestGuest: all that the pen would show is below the machine's root; beside it there is
// what QEMU is made of, with what is hidden of that hidden, and nothing is writable there.
func TestGuest(t *testing.T) {
	shown := []sandbox.Mount{
		{Source: "/usr", Target: "/usr"},
		{Kind: sandbox.BlankDir, Target: "/usr/local/secret"},
		{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
		{Source: "/etc", Target: "/etc"},
		{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true, Mode: 0o1777, Size: 7},
		{Kind: sandbox.Tmpfs, Target: "/home/a", Write: true, Mode: 0o700},
		{Kind: sandbox.Tmpfs, Target: "/run", Write: true},
		{Source: "/home/a/p", Target: "/home/a/p", Write: true},
	}
	s := &sandbox.Spec{
		Argv: []string{"echo", "-n"}, Env: []string{"A=b"}, Dir: "/home/a/p", UID: 7, GID: 8, Hostname: "pen", Terminal: true,
		Limits: sandbox.Limits{PIDs: 200},
		Mounts: shown, Files: []sandbox.File{{Target: "/run/penstock/x"}},
	}
	before := slices.Clone(shown)
	b := &Backend{pen: plain{}, program: "/opt/" + Program, o: Options{Filter: []byte("filter"), Relay: []uint16{53, 808}}}
	b.guest(s, &parts{"/usr/bin/q", "/cache/image"}, 1<<30)
	want := &sandbox.Spec{
		Argv: []string{
			"/run/penstock/microvm", "run", "-qemu=/usr/bin/q", "-image=/run/penstock/machine", "-root=/guest", "-memory=1073741824", "-pids=200",
			"-filter=/run/penstock/command.bpf", "-relay=53", "-relay=808", "-tmpfs=1777:7:/tmp",
			"-dir=/home/a/p", "-uid=7", "-gid=8", "-hostname=pen", "-terminal=true", "--", "echo", "-n",
		},
		Env: []string{"A=b"}, Dir: "/", UID: 7, GID: 8, Hostname: "pen", Terminal: true, Limits: s.Limits,
		Mounts: []sandbox.Mount{
			{Source: "/usr", Target: "/guest/usr"},
			{Kind: sandbox.BlankDir, Target: "/guest/usr/local/secret"},
			{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/guest/bin"},
			{Source: "/etc", Target: "/guest/etc"},
			{Kind: sandbox.Tmpfs, Target: "/guest/tmp", Write: true, Mode: 0o1777, Size: 7},
			{Kind: sandbox.Tmpfs, Target: "/guest/home/a", Write: true, Mode: 0o700},
			{Kind: sandbox.Tmpfs, Target: "/guest/run", Write: true},
			{Source: "/home/a/p", Target: "/guest/home/a/p", Write: true},
			{Kind: sandbox.Tmpfs, Target: "/guest/proc", Size: 4096},
			{Kind: sandbox.Tmpfs, Target: "/guest/dev", Size: 4096},
			{Source: "/usr", Target: "/usr"},
			{Kind: sandbox.BlankDir, Target: "/usr/local/secret"},
			{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
			{Source: "/etc/ld.so.cache", Target: "/etc/ld.so.cache", Optional: true},
			{Source: "/opt/penstock-microvm", Target: "/run/penstock/microvm"},
			{Source: "/cache/image", Target: "/run/penstock/machine"},
		},
		Files: []sandbox.File{{Target: "/guest/run/penstock/x"}, {Target: "/run/penstock/command.bpf", Content: []byte("filter")}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v\nwant %+v", s, want)
	}
	if !reflect.DeepEqual(shown, before) {
		t.Error("the caller's list was changed")
	}
	if m := emulatorMounts([]sandbox.Mount{{Source: "/home/a", Target: "/usr/local", Write: true}}); m[0].Write {
		t.Error("what is beside QEMU can be written")
	}
}

// TestSize: a limit is the machine's and QEMU's together, and too small a one is an error.
func TestSize(t *testing.T) {
	for _, tt := range []struct {
		limits sandbox.Limits
		want   int64
	}{
		{sandbox.Limits{}, 1 << 30},
		{sandbox.Limits{Memory: 2 << 30}, 2<<30 - 384<<20},
		{sandbox.Limits{Memory: 640<<20 + 5}, 256 << 20},
		{sandbox.Limits{Memory: 640<<20 - 1}, 0},
		{sandbox.Limits{PIDs: 96}, 1 << 30},
		{sandbox.Limits{PIDs: 95}, 0},
	} {
		got, err := size(tt.limits)
		if got != tt.want || (err != nil) != (tt.want == 0) || err != nil && !hinted(err) {
			t.Errorf("%+v: %d %v", tt.limits, got, err)
		}
	}
}

func hinted(err error) bool {
	var h interface{ Hint() string }
	return errors.As(err, &h) && h.Hint() != "" && strings.HasPrefix(err.Error(), "tier microvm: ") && !strings.Contains(err.Error(), "\n")
}

// TestUnavailable: where it can't run, there is a cause and a remedy, and no plan.
func TestUnavailable(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(Program, "#!/bin/sh\necho something else\n")
	b, err := New(plain{}, Options{Self: filepath.Join(dir, "penstock"), Cache: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := &sandbox.Spec{Argv: []string{"true"}, Dir: "/"}
	if err := b.Prepare(s); !hinted(err) || s.Argv[0] != "true" {
		t.Errorf("another program: %v %v", err, s.Argv)
	}
	if _, err := b.Probe(t.Context()); !hinted(err) {
		t.Errorf("another program: %v", err)
	}
	h := host{emulators: []string{filepath.Join(dir, "qemu")}, kernels: []string{filepath.Join(dir, "boot/vmlinuz-*")}, modules: []string{filepath.Join(dir, "modules")}}
	if _, err := h.emulator(); !hinted(err) {
		t.Errorf("no QEMU: %v", err)
	}
	drivers := []string{"9p", "9pnet_virtio", "virtio_net", "virtio_console", "virtio_pci"}
	for _, tt := range []struct{ name, text, why string }{
		{"", "", "there is none"},
		{"boot/vmlinuz-6.1.0-9", "kernel", "has no modules in "},
		{"modules/6.1.0-9/modules.order", "kernel/fs/ext4/ext4.ko\n", "has no modules in "},
		{"modules/6.1.0-9/modules.builtin", "", "has no module 9p"},
	} {
		if tt.name != "" {
			write(tt.name, tt.text)
		}
		if _, err := h.kernel(drivers...); !hinted(err) || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.why)
		}
	}
	write("modules/6.1.0-10/modules.order", "a/9p.ko\na/9pnet_virtio.ko\na/virtio_net.ko\na/virtio_console.ko\n")
	write("modules/6.1.0-10/modules.builtin", "a/virtio_pci.ko\n")
	write("boot/vmlinuz-6.1.0-10", "kernel")
	if k, err := h.kernel(drivers...); err != nil || k.file != filepath.Join(dir, "boot/vmlinuz-6.1.0-10") || k.modules != filepath.Join(dir, "modules/6.1.0-10") {
		t.Errorf("%+v %v", k, err)
	}
}

// TestNewer: versions are compared as such.
func TestNewer(t *testing.T) {
	list := []string{"6.1.0-9-amd64", "6.10.0-1-amd64", "6.1.0-56-amd64", "6.1.0-56-cloud-amd64", "5.15.0-100-generic"}
	slices.SortFunc(list, newer)
	want := []string{"5.15.0-100-generic", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-56-cloud-amd64", "6.10.0-1-amd64"}
	if !slices.Equal(list, want) {
		t.Errorf("%v", list)
	}
}

// TestPrune: of images there are a few, the last ones.
func TestPrune(t *testing.T) {
	all := t.TempDir()
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.MkdirAll(filepath.Join(all, name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	prune(all)
	if left, err := os.ReadDir(all); err != nil || len(left) != maxImages-1 {
		t.Errorf("%v %v", left, err)
	}
}

// TestCapabilities: the kernel is no longer the host's, who asks can't be told, and a
// limit of memory is the machine's.
func TestCapabilities(t *testing.T) {
	caps, _ := plain{}.Probe(t.Context())
	got := map[string]sandbox.Enforcement{}
	for _, c := range over(caps) {
		got[c.Control] = c.State
	}
	want := map[string]sandbox.Enforcement{"kernel": sandbox.Enforced, "attribution": sandbox.Partial, "network": sandbox.Enforced}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	b := &Backend{}
	if c := b.Limit(sandbox.Capability{Control: "memory", State: sandbox.Partial, By: "RLIMIT_DATA", Detail: "x", Fix: "y"}); c.State != sandbox.Enforced || c.Detail != "" {
		t.Errorf("%+v", c)
	}
	same := sandbox.Capability{Control: "pids", State: sandbox.Unavailable}
	if c := b.Limit(same); c != same {
		t.Errorf("%+v", c)
	}
}
