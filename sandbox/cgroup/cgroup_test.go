package cgroup

import (
	"errors"
	"os"
	"path/filepath"
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
	all := sandbox.Limits{Memory: 1 << 30, CPUs: 1.5, PIDs: 100, ReadRate: 5, WriteRate: 7}
	render := func(l sandbox.Limits, v2 bool) string {
		var out []string
		for _, c := range controllers {
			for _, s := range settings(c, v2, l, []string{"8:0", "254:0"}) {
				out = append(out, s.file+"="+s.value)
			}
		}
		return strings.Join(out, "\n")
	}
	for _, c := range []struct {
		name string
		l    sandbox.Limits
		v2   bool
		want string
	}{
		{"version 2", all, true, "memory.max=1073741824\nmemory.swap.max=0\nmemory.oom.group=0\npids.max=100\ncpu.max=150000 100000\nio.max=8:0 rbps=5 wbps=7\nio.max=254:0 rbps=5 wbps=7"},
		{"version 1", all, false, "memory.memsw.limit_in_bytes=-1\nmemory.limit_in_bytes=1073741824\nmemory.memsw.limit_in_bytes=1077936128\npids.max=100\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=150000\n" +
			"blkio.throttle.read_bps_device=8:0 5\nblkio.throttle.write_bps_device=8:0 7\nblkio.throttle.read_bps_device=254:0 5\nblkio.throttle.write_bps_device=254:0 7"},
		{"little of a processor", sandbox.Limits{CPUs: 0.001}, true, "cpu.max=1000 100000"},
		{"one direction", sandbox.Limits{WriteRate: 9}, true, "io.max=8:0 rbps=max wbps=9\nio.max=254:0 rbps=max wbps=9"},
		{"nothing for a group", sandbox.Limits{OpenFiles: 3, Wall: time.Hour}, true, ""},
		{"negative", sandbox.Limits{Memory: -1, CPUs: -1, PIDs: -1, ReadRate: -1}, false, ""},
	} {
		if got := render(c.l, c.v2); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	all := sandbox.Limits{Memory: 1, CPUs: 1, PIDs: 1, OpenFiles: 1, Wall: time.Minute, ReadRate: 1, WriteRate: 1}
	version := func(v2 bool, names ...string) map[string]carrier {
		by := map[string]carrier{}
		for _, n := range names {
			by[n] = carrier{"/x", v2}
		}
		return by
	}
	state := func(by map[string]carrier, f facts) string {
		f.fallback = resources{1, 2, 3, 4}
		f.fix = "y"
		limits, caps := plan(all, by, f)
		var out []string
		for _, c := range caps {
			out = append(out, c.Control+"="+string(c.State))
			if c.State != sandbox.Enforced && (c.Detail == "" || c.Fix == "") {
				t.Errorf("%s: a limit that is not in force needs a reason and a fix", c.Control)
			}
			if c.State != sandbox.Unavailable && c.By == "" {
				t.Errorf("%s: enforced by what?", c.Control)
			}
		}
		if limits[0] != (Rlimit{4, 1}) {
			t.Error("cores are not off")
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		by   map[string]carrier
		f    facts
		want string
	}{
		{version(true, controllers...), facts{}, "memory=enforced pids=enforced cpus=enforced io=enforced open-files=enforced wall-time=enforced"},
		{version(false, controllers...), facts{}, "memory=enforced pids=enforced cpus=enforced io=partial open-files=enforced wall-time=enforced"},
		{version(true, memory), facts{perNamespace: true, why: "x"}, "memory=enforced pids=enforced cpus=unavailable io=unavailable open-files=enforced wall-time=enforced"},
		{nil, facts{perNamespace: true, why: "x"}, "memory=partial pids=enforced cpus=unavailable io=unavailable open-files=enforced wall-time=enforced"},
		{nil, facts{perNamespace: true, root: true, why: "x"}, "memory=partial pids=unavailable cpus=unavailable io=unavailable open-files=enforced wall-time=enforced"},
		{nil, facts{why: "x"}, "memory=partial pids=unavailable cpus=unavailable io=unavailable open-files=enforced wall-time=enforced"},
	} {
		if got := state(c.by, c.f); got != c.want {
			t.Errorf("%v %+v:\n%s\n%s", c.by, c.f, got, c.want)
		}
	}
}

func TestHierarchies(t *testing.T) {
	for _, c := range []struct{ name, table, unified, v1 string }{
		{"unified", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup /", ""},
		{"hybrid", `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/x /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /elsewhere rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\040fied rw,relatime shared:3 - cgroup2 cgroup2 rw`,
			"/sys/fs/cgroup/uni fied /", "/sys/fs/cgroup/cpu,cpuacct / cpu;/sys/fs/cgroup/memory /docker/x memory;/sys/fs/cgroup/blkio / io"},
		{"nothing", "1 2 3\n - cgroup2\n", "", ""},
	} {
		u, v1 := hierarchies(c.table)
		unified := ""
		if u != nil {
			unified = u.dir + " " + u.root
		}
		var rest []string
		for _, h := range v1 {
			rest = append(rest, h.dir+" "+h.root+" "+strings.Join(h.controllers, ","))
		}
		if got := strings.Join(rest, ";"); unified != c.unified || got != c.v1 {
			t.Errorf("%s: %q %q", c.name, unified, got)
		}
	}
}

// Names that a tree did not write are nobody's to remove.
func TestNames(t *testing.T) {
	for _, n := range []string{"", "u", "u-1", "u+1", "u01", "u1 ", "u1x", "U1", "u99999999999", "1", "u0x1"} {
		if uid, ok := userOf(n); ok {
			t.Errorf("%q is user %d", n, uid)
		}
	}
	for _, n := range []string{"", "s", "s.", "s..", "s/", "sä", "x1", "s" + strings.Repeat("a", 65), "s a"} {
		if s, ok := sessionOf(n); ok {
			t.Errorf("%q is session %q", n, s)
		}
	}
	for _, n := range []string{"", "-1", "01", "a", "1.", "1 "} {
		if slot, ok := slotOf(n); ok {
			t.Errorf("%q is slot %d", n, slot)
		}
	}
	uid, uok := userOf("u1000")
	s, sok := sessionOf("s20261122-201501-abcd")
	slot, ok := slotOf("0")
	if uid != 1000 || !uok || s != "20261122-201501-abcd" || !sok || slot != 0 || !ok {
		t.Error(uid, s, slot)
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
