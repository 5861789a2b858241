package container

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the trial's child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Role {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// TestTry: on a machine without a container nothing is refused, and nothing of the
// trial stays.
func TestTry(t *testing.T) {
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := mounts()
	name, _ := os.Hostname()
	tried, err := Try(t.Context(), "/proc/self/exe")
	if err != nil || tried.Refused() {
		t.Errorf("%+v: %v", tried, err)
	}
	if now, _ := os.Hostname(); now != name || mounts() != before {
		t.Errorf("the trial has changed this machine: %s", now)
	}
	if _, err := Try(t.Context(), "/bin/false"); err == nil {
		t.Error("a trial that ends badly is none")
	}
	if tried, err := Try(t.Context(), "/absent"); err != nil || !tried.Refused() {
		t.Errorf("%+v: %v", tried, err)
	}
}

// TestTryCovered: under a covered /proc the trial is refused one of its own, by this
// kernel.
func TestTryCovered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("covering /proc needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount -t tmpfs none /proc/fs && exec unshare --user --map-root-user --mount --pid --fork --uts "$0" `+Role, exe)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tried, err := parse(string(out))
	if err != nil || tried.Proc != unix.EPERM || tried.Mount != nil || tried.Hostname != nil || tried.Root != nil {
		t.Errorf("%s%v", out, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, said := range []string{"x 0\n", "proc\n", "proc 99999\n", "proc -1\n", "proc 1 2\n", "\n", "proc \x1b\n"} {
		if tried, err := parse(said); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q is %+v: %v", said, tried, err)
		}
	}
	if tried, err := parse("hostname 1\nmount 13\nmount 0\nproc 38\nroot 0\n"); err != nil || tried.Hostname != unix.EPERM || tried.Mount != unix.EACCES || tried.Proc != unix.ENOSYS || tried.Root != nil {
		t.Errorf("%+v: %v", tried, err)
	}
	var l limited
	if n, err := l.Write(bytes.Repeat([]byte("x"), 5000)); n != 5000 || err != nil || l.b.Len() != 4096 {
		t.Errorf("%d %v %d", n, err, l.b.Len())
	}
}

// TestRead: the marks of engines, and what a container does to /proc.
func TestRead(t *testing.T) {
	const first = "         0          0 4294967295\n"
	for _, tc := range []struct {
		name    string
		files   map[string]string
		environ []string
		want    Place
	}{
		{"none", map[string]string{"proc/7/uid_map": first, "proc/7/status": "Name:\tx\nSeccomp:\t0\n"}, nil, Place{}},
		{"docker", map[string]string{
			".dockerenv": "", "proc/7/uid_map": first, "proc/7/status": "Seccomp:\t2\n", "proc/7/attr/current": "docker-default (enforce)\n",
			"proc/7/mountinfo": "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - proc proc rw\n3 2 0:2 /bus /proc/bus ro - proc proc rw\n4 2 0:3 / /proc/keys rw - tmpfs tmpfs rw\n5 2 0:4 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\nbad\n",
		}, nil, Place{Engine: "docker", Seccomp: true, Label: "docker-default (enforce)", Covered: 2}},
		{"rootless podman", map[string]string{"run/.containerenv": "", "proc/7/uid_map": "0 1000 1\n1 100000 65536\n"}, []string{"container=oci"}, Place{Engine: "podman", Nested: true}},
		{"a variable", map[string]string{".dockerenv": "", "proc/7/uid_map": first}, []string{"container=podman"}, Place{Engine: "podman"}},
		{"a variable with colours", map[string]string{"proc/7/uid_map": first}, []string{"container=\x1b[31m"}, Place{}},
		{"kubernetes", map[string]string{".dockerenv": "", "proc/7/uid_map": first}, []string{"KUBERNETES_SERVICE_HOST=10.0.0.1"}, Place{Engine: "kubernetes"}},
		{"systemd's mark", map[string]string{"run/systemd/container": "systemd-nspawn\n", "proc/7/uid_map": first}, nil, Place{Engine: "systemd-nspawn"}},
		{"control groups", map[string]string{"proc/7/cgroup": "1:cpu:/libpod_parent/libpod-1\n", "proc/7/uid_map": first}, nil, Place{Engine: "podman"}},
		{"unconfined", map[string]string{"proc/7/attr/apparmor/current": "penstock (unconfined)\n", "proc/7/uid_map": first}, nil, Place{}},
		{"root without capabilities", map[string]string{"proc/7/status": "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n", "proc/7/uid_map": first}, nil, Place{Mapless: true}},
		{"root", map[string]string{"proc/7/status": "Uid:\t0\t0\t0\t0\nCapEff:\t00000000800405fb\n", "proc/7/uid_map": first}, nil, Place{}},
		{"a user", map[string]string{"proc/7/status": "Uid:\t1\t1\t1\t1\nCapEff:\t0000000000000000\n", "proc/7/uid_map": first}, nil, Place{}},
		{"another's /proc", map[string]string{"proc/8/uid_map": first}, nil, Place{Foreign: true}},
	} {
		root := t.TempDir()
		for name, text := range tc.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if pid, _, ok := strings.Cut(strings.TrimPrefix(name, "proc/"), "/"); ok && strings.HasPrefix(name, "proc/") {
				_ = os.Symlink(pid, filepath.Join(root, "proc/self"))
			}
		}
		got := read(root, 7, tc.environ)
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}
