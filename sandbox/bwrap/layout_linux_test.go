package bwrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// laid is a pen as the supervisor makes it: home and work directory of the
// host, laid out by package layout. change may add to the input.
func laid(t testing.TB, home, work string, change func(*layout.Input), argv ...string) *sandbox.Spec {
	t.Helper()
	in := layout.Input{
		Work: work, Home: home, User: "somebody", UID: os.Getuid(), GID: os.Getgid(),
		Path: filepath.SplitList(os.Getenv("PATH")),
	}
	if change != nil {
		change(&in)
	}
	plan, err := layout.Build(in, layout.OS())
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := layout.Claim(plan.Placeholders)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := claimed.Release(); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &sandbox.Spec{
		Argv: argv, Env: []string{"PATH=" + strings.Join(plan.Path, ":"), "HOME=" + plan.Home}, Dir: plan.Dir,
		UID: in.UID, GID: in.GID, Penstock: self, Hostname: "pen", Mounts: plan.Mounts, Files: plan.Files,
	}
}

// homeWith makes a home directory with files in it.
func homeWith(t testing.TB, files ...string) (home, work string) {
	t.Helper()
	home = t.TempDir()
	work = filepath.Join(home, "project")
	for _, f := range append(files, "project/file") {
		p := filepath.Join(home, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("content of "+f+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return home, work
}

func TestLaidOut(t *testing.T) {
	home, work := homeWith(t, ".ssh/id_ed25519", "other/file", "project/.git/config", "project/.git/HEAD")
	for _, c := range []struct {
		name, script string
		ok           bool
	}{
		{"work is writable", "echo x > new && cat file new", true},
		{"home is writable", "echo x > ~/x && cat ~/x", true},
		{"tmp is writable", "echo x > /tmp/x && echo x > /var/tmp/x && echo x > /dev/shm/x", true},
		{"ssh key", "cat ~/.ssh/id_ed25519", false},
		{"sibling of work", "cat ~/other/file", false},
		{"root", "echo x > /x", false},
		{"usr", "echo x > /usr/x", false},
		{"etc", "echo x > /etc/x", false},
		{"git config read", "cat .git/config", true},
		{"git config", "echo x > .git/config", false},
		{"git config replaced", "echo x > .git/c && mv .git/c .git/config", false},
		{"git config removed", "rm -f .git/config", false},
		{"git renamed", "mv .git git2", false},
		{"git hooks", "mkdir -p .git/hooks/x", false},
		{"git hooks file", "echo x > .git/hooks", false},
		{"git hooks by rename", "mkdir h && mv -T h .git/hooks", false},
		{"git commondir", "echo .. > .git/commondir", false},
		{"git commondir by link", "ln -sf x .git/commondir", false},
		{"git other", "echo x > .git/index.lock && rm .git/index.lock", true},
		{"penstock.yaml", "echo x > .penstock.yaml", false},
		{"penstock.yaml by rename", "echo x > y && mv y .penstock.yaml", false},
		{"penstock.yaml by link", "ln -s y .penstock.yaml", false},
		{"vscode", "mkdir -p .vscode/x", false},
		{"mcp.json by rename", "echo x > y2; mv y2 .mcp.json", false},
		{"resolv.conf", "grep -q 127.0.0.1 /etc/resolv.conf && test $(wc -l < /etc/resolv.conf) = 1", true},
		{"names itself", "id -un | grep -E 'somebody|root'", true},
		{"no docker", "test -e /var/run/docker.sock || test -e /run/docker.sock || test -e /run/dbus", false},
		{"mounts", "cat /proc/self/mountinfo; ls -la / ~ . /run /run/*", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := run(t, laid(t, home, work, nil, "sh", "-c", c.script))
			if (code == 0) != c.ok {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			if c.name == "mounts" && testing.Verbose() {
				t.Log(out)
			}
		})
	}
	left, err := os.ReadDir(work)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		switch e.Name() {
		case ".git", "file", "new", "h", "y", "y2":
		default:
			t.Errorf("%s is left on the host", e.Name())
		}
	}
	for _, p := range []string{".git/hooks", ".git/commondir"} {
		if _, err := os.Lstat(filepath.Join(work, p)); err == nil {
			t.Errorf("%s is left on the host", p)
		}
	}
	if b, err := os.ReadFile(filepath.Join(work, ".git/config")); err != nil || string(b) != "content of project/.git/config\n" {
		t.Errorf("%q %v", b, err)
	}
}

func BenchmarkLaidOut(b *testing.B) {
	home, work := homeWith(b, ".ssh/id_ed25519", "project/.git/config", "project/.git/HEAD")
	for b.Loop() {
		if code, _, errs := run(b, laid(b, home, work, nil, "true")); code != 0 {
			b.Fatal(code, errs)
		}
	}
}

// claimed says whether a mount of the pen is right over p.
func claimed(mounts []sandbox.Mount, p string) bool {
	for _, m := range mounts {
		if m.Target == p && (m.Kind != sandbox.Bind || m.Source == p) {
			return true
		}
	}
	return false
}
