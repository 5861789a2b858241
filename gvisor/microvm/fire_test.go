package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/gvisor/microvm/image"
)

// built is the imitation of Firecracker and its jailer, built once for all tests.
type built struct {
	once sync.Once
	b    []byte
	err  error
}

var imitation built

// imitate puts a program in Firecracker's place, of which a name's end says what is wrong
// with it, and its jailer beside it; and an image of no kernel.
func imitate(t *testing.T, name string) *machine {
	t.Helper()
	dir := t.TempDir()
	imitation.once.Do(func() {
		file := filepath.Join(dir, "imitation")
		cmd := exec.Command("go", "build", "-o", file, "./firecracker/imitation")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in an empty root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the imitation: %v: %s", err, out)
		}
		imitation.b, imitation.err = os.ReadFile(file)
	})
	if imitation.err != nil || imitation.b == nil {
		t.Fatalf("there is no imitation: %v", imitation.err)
	}
	m := &machine{image: filepath.Join(dir, "image"), fire: filepath.Join(dir, name), memory: 1 << 28, start: time.Minute}
	if err := os.Mkdir(m.image, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		m.fire: imitation.b, filepath.Join(dir, "jailer"): imitation.b,
		filepath.Join(m.image, image.Kernel): []byte("\x7fELF kernel"), filepath.Join(m.image, image.Initial): []byte("files"),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, map[bool]os.FileMode{true: 0o755, false: 0o600}[len(content) > 100]); err != nil {
			t.Fatal(err)
		}
	}
	// What is left of a machine would be here.
	tmp, err := os.MkdirTemp("/tmp", "fire") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
			t.Errorf("left: %v %v", left, err)
		}
		os.RemoveAll(tmp)
		if out, _ := exec.Command("pgrep", "-f", "^"+dir).CombinedOutput(); len(out) != 0 {
			t.Errorf("it runs on: %s", out)
		}
	})
	return m
}

// TestFirecracker: a machine is started by the API and says over vsock that it is up; what
// Firecracker or its guest does else is an error that says why, within the deadline, with
// what it said quoted; and nothing of it is left.
func TestFirecracker(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start time.Duration
		want  []string // in the error; nil: it boots
	}{
		{"firecracker", time.Minute, nil},
		{"firecracker-late", time.Minute, nil},
		{"firecracker-dies", time.Minute, []string{"Firecracker ended (exit status 1)", `\x1b[2Jno KVM: permission denied`}},
		{"firecracker-deaf", 300 * time.Millisecond, []string{"did not start within 300ms"}},
		{"firecracker-silent", 300 * time.Millisecond, []string{"did not start within 300ms"}},
		{"firecracker-garbage", time.Minute, []string{"GET /: malformed answer", `\x1b[2JOK whatever`}},
		{"firecracker-endless", time.Minute, []string{"GET /: malformed answer: more than 65536 bytes"}},
		{"firecracker-old", time.Minute, []string{`version "1.5.0" of Firecracker is too old`, "1.8"}},
		{"firecracker-other", time.Minute, []string{`another Firecracker answers: id "another"`}},
		{"firecracker-refuses", time.Minute, []string{"PUT /actions: status 400", `\x1b[31mno /dev/kvm`}},
		{"firecracker-panics", time.Minute, []string{"its kernel ended", `Kernel panic - not syncing: \x1b[2Jno init`}},
		{"firecracker-hangs", 4 * time.Second, []string{"did not start within 4s", `booting\x1b[2J with console=ttyS0`}},
		{"firecracker-mute", 4 * time.Second, []string{"did not start within 4s", `booting\x1b[2J`}},
		{"firecracker-rude", time.Minute, []string{"connect to port 1024 of the guest", `\x1b]0;HELLO 9`}},
		{"firecracker-wrong", time.Minute, []string{"does not speak: malformed frame"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := imitate(t, tt.name)
			m.start = tt.start
			said, err := ignite(t.Context(), m)
			if tt.want == nil {
				if err != nil || said != `Firecracker "1.17.0-dev" booted a machine, as this user, without its jailer` {
					t.Errorf("%q %v", said, err)
				}
				return
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("%v, want %s", err, want)
				}
			}
		})
	}
	m := imitate(t, "firecracker")
	m.fire += "-not-there"
	if _, err := ignite(t.Context(), m); err == nil || !strings.Contains(err.Error(), "find Firecracker") {
		t.Errorf("no program: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ignite(ctx, imitate(t, "firecracker-deaf")); err != errSignal {
		t.Errorf("interrupted: %v", err)
	}
}

// TestKernel: what is no kernel is Firecracker's to refuse, and its word is passed on.
func TestKernel(t *testing.T) {
	m := imitate(t, "firecracker")
	if err := os.WriteFile(filepath.Join(m.image, image.Kernel), []byte("bzImage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ignite(t.Context(), m); err == nil || !strings.Contains(err.Error(), "PUT /actions: status 400") || !strings.Contains(err.Error(), "invalid kernel image") {
		t.Errorf("no ELF: %v", err)
	}
	if err := os.Remove(filepath.Join(m.image, image.Initial)); err != nil {
		t.Fatal(err)
	}
	if _, err := ignite(t.Context(), m); err == nil || !strings.Contains(err.Error(), "PUT /boot-source: status 400") {
		t.Errorf("no initial file system: %v", err)
	}
}

// TestJailer: by root a machine is started in a jail, whose Firecracker is another user
// in a root of its own, with copies of what it boots.
func TestJailer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the jailer has to be root")
	}
	m := imitate(t, "firecracker")
	m.jailer = filepath.Join(filepath.Dir(m.fire), "jailer")
	kernel := filepath.Join(m.image, image.Kernel)
	f, err := kindle(m)
	if err != nil {
		t.Fatal(err)
	}
	version, err := f.boot(t.Context(), m)
	if err != nil || version == "" {
		t.Errorf("%q %v %v", version, err, f.why())
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(f.cmd.Process.Pid) + "/status")
	if err != nil || !bytes.Contains(status, []byte("Uid:\t65534\t65534\t65534\t65534\n")) || !bytes.Contains(status, []byte("Groups:\t \n")) {
		t.Errorf("%v: %s", err, status)
	}
	if root, err := os.Readlink("/proc/" + strconv.Itoa(f.cmd.Process.Pid) + "/root"); err != nil || root != f.jail.Root() {
		t.Errorf("its root is %s %v, not %s", root, err, f.jail.Root())
	}
	outer, err := os.Stat(kernel)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := os.Stat(filepath.Join(f.jail.Root(), f.place.Kernel))
	if err != nil || os.SameFile(outer, inner) || inner.Mode().Perm() != 0o444 || outer.Mode().Perm() != 0o600 {
		t.Errorf("%v: %v %v", err, inner, outer.Mode())
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
	if said, err := ignite(t.Context(), m); err != nil || !strings.HasSuffix(said, "in its jailer's jail") {
		t.Errorf("%q %v", said, err)
	}
	m = imitate(t, "firecracker-dies")
	m.jailer = filepath.Join(filepath.Dir(m.fire), "jailer")
	if _, err := ignite(t.Context(), m); err == nil || !strings.Contains(err.Error(), "Firecracker ended (exit status 1)") {
		t.Errorf("%v", err)
	}
	m = imitate(t, "monitor")
	m.jailer = filepath.Join(filepath.Dir(m.fire), "jailer")
	if _, err := ignite(t.Context(), m); err == nil || !strings.Contains(err.Error(), `lacks "firecracker"`) {
		t.Errorf("another name: %v", err)
	}
}

// TestTrialFlags: Firecracker is tried, and runs no command.
func TestTrialFlags(t *testing.T) {
	for _, bad := range [][]string{
		{"-firecracker=/f", "-qemu=/q", "-image=/i"}, {"-firecracker=/f"}, {"-qemu=/q", "-jailer=/j", "-image=/i"}, {"-image=/i"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if code := run([]string{"run", "-firecracker=/f", "-image=/i", "-root=/", "--", "true"}); code != exitBroken {
		t.Errorf("a command: %d", code)
	}
}
