package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// tree makes a directory that looks like a hierarchy. Files map to contents.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestParent(t *testing.T) {
	const user = "user.slice/user-1000.slice/user@1000.service"
	files := map[string]string{}
	for _, dir := range []string{"", "user.slice", "user.slice/user-1000.slice", user, user + "/app.slice", user + "/app.slice/term.scope", "user.slice/user-1000.slice/session-3.scope"} {
		files[filepath.Join(dir, "cgroup.procs")] = ""
		files[filepath.Join(dir, "cgroup.controllers")] = "cpuset cpu io memory pids\n"
		files[filepath.Join(dir, "cgroup.subtree_control")] = "cpu memory pids\n"
	}
	files[user+"/app.slice/cgroup.subtree_control"] = "memory pids\n"
	root := tree(t, files)
	delegated := func(p string) bool { return strings.HasPrefix(p, filepath.Join(root, user)) }
	for _, c := range []struct {
		name, of    string
		controllers []string
		writable    func(string) bool
		want        string // relative; empty: unavailable
	}{
		{"user manager", "/" + user + "/app.slice/term.scope", []string{"memory"}, delegated, user + "/app.slice"},
		{"turns a controller on", "/" + user + "/app.slice/term.scope", []string{"memory", "cpu"}, delegated, user + "/app.slice"},
		{"unknown controller", "/" + user + "/app.slice/term.scope", []string{"hugetlb"}, delegated, ""},
		{"ssh session", "/user.slice/user-1000.slice/session-3.scope", []string{"memory"}, delegated, ""},
		{"root", "/user.slice/user-1000.slice/session-3.scope", []string{"memory"}, func(string) bool { return true }, "user.slice/user-1000.slice"},
		{"at the top", "/", []string{"memory"}, func(string) bool { return true }, "."},
		{"outside of the mount", "/../other", []string{"memory"}, func(string) bool { return true }, "."},
		{"nothing", "/x", []string{"memory"}, func(string) bool { return false }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parent(Root{Dir: root, Of: c.of}, c.controllers, c.writable)
			if c.want == "" {
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err != nil || got != filepath.Join(root, c.want) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	if b, _ := os.ReadFile(filepath.Join(root, user, "app.slice/cgroup.subtree_control")); string(b) != "+cpu" {
		t.Errorf("%q was written", b)
	}
}

func TestSettings(t *testing.T) {
	got := settings(sandbox.Limits{Memory: 1 << 30, CPUs: 1.5, PIDs: 100})
	want := [][2]string{{"memory.max", "1073741824"}, {"memory.swap.max", "0"}, {"memory.oom.group", "0"}, {"pids.max", "100"}, {"cpu.max", "150000 100000"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := settings(sandbox.Limits{CPUs: 0.001}); got[0][1] != "1000 100000" {
		t.Errorf("%v", got)
	}
	if got := settings(sandbox.Limits{OpenFiles: 3, Wall: time.Hour}); got != nil {
		t.Errorf("%v", got)
	}
}

func TestPlan(t *testing.T) {
	all := sandbox.Limits{Memory: 1, CPUs: 1, PIDs: 1, OpenFiles: 1, Wall: time.Minute}
	state := func(group bool, f facts) string {
		f.fallback = resources{1, 2, 3, 4}
		limits, caps := plan(all, group, f)
		var out []string
		for _, c := range caps {
			out = append(out, c.Control+"="+string(c.State))
			if c.State != sandbox.Enforced && (c.Detail == "" || c.Fix == "") {
				t.Errorf("%s: a limit that is not in force needs a reason and a fix", c.Control)
			}
		}
		if limits[0] != (Rlimit{4, 1}) {
			t.Error("cores are not off")
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		group bool
		f     facts
		want  string
	}{
		{true, facts{}, "memory=enforced pids=enforced cpus=enforced open-files=enforced wall-time=enforced"},
		{false, facts{perNamespace: true, why: "x"}, "memory=partial pids=enforced cpus=unavailable open-files=enforced wall-time=enforced"},
		{false, facts{perNamespace: true, root: true, why: "x"}, "memory=partial pids=unavailable cpus=unavailable open-files=enforced wall-time=enforced"},
		{false, facts{why: "x"}, "memory=partial pids=unavailable cpus=unavailable open-files=enforced wall-time=enforced"},
	} {
		if got := state(c.group, c.f); got != c.want {
			t.Errorf("%v %+v:\n%s\n%s", c.group, c.f, got, c.want)
		}
	}
}

func TestSweep(t *testing.T) {
	root := tree(t, nil)
	for _, d := range []string{"penstock-1-5", "penstock-2-5", "penstock-x-5", "penstock-3", "other-1-5", "penstock-4-5/busy"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sweep(root, func(pid int, started string) bool { return pid == 1 && started == "5" })
	entries, _ := os.ReadDir(root)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != "other-1-5 penstock-1-5 penstock-3 penstock-4-5 penstock-x-5" {
		t.Error(got)
	}
}

func TestCreateAndClose(t *testing.T) {
	root := tree(t, nil)
	_, err := create(Root{Dir: root}, root, "penstock-1-1", sandbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := create(Root{Dir: root}, root, "penstock-1-2", sandbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Path != "/penstock-1-2" || g.File() == nil {
		t.Errorf("%+v", g)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := Remove(root); err == nil {
		t.Error("removed what is not ours")
	}
}

func FuzzOwner(f *testing.F) {
	f.Add("penstock-12-345")
	f.Add("penstock--")
	f.Fuzz(func(t *testing.T, name string) {
		if pid, started, ok := owner(name); ok && (pid <= 0 || started == "") {
			t.Errorf("%q: %d %q", name, pid, started)
		}
	})
}
