package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// fakeV2 is a directory that looks like a unified hierarchy with controllers,
// which the machine of the tests need not have.
func fakeV2(t *testing.T, have string) *Tree {
	t.Helper()
	root(t) // what is written here has the mode that the kernel would overrule: none
	files := map[string]string{"cgroup.controllers": have}
	for _, dir := range []string{"penstock", "penstock/pens", "penstock/proxies", "penstock/pens/u5"} {
		files[dir+"/cgroup.controllers"] = have
	}
	top := tree(t, files)
	return &Tree{root: Root{Dir: top, Of: "/"}, dir: filepath.Join(top, "penstock"), by: map[string]carrier{}, users: map[int]*userGroup{}, live: map[string]bool{}}
}

func text(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUnifiedControllers(t *testing.T) {
	for have, want := range map[string]string{
		"cpuset cpu io memory hugetlb pids\n": "memory pids cpu io",
		"memory pids\n":                       "memory pids",
		"hugetlb\n":                           "",
	} {
		tr := fakeV2(t, have)
		tr.unify(tr.root.Dir)
		var got []string
		for _, c := range controllers {
			if at, ok := tr.by[c]; ok {
				if !at.v2 || at.dir != tr.dir {
					t.Errorf("%s is at %+v", c, at)
				}
				got = append(got, c)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("of %q: %q, want %q", have, s, want)
		}
		// What is not there is not asked for.
		if want == "" {
			if _, err := os.Stat(filepath.Join(tr.dir, "cgroup.subtree_control")); err == nil {
				t.Error("a controller was turned on that there is not")
			}
		}
	}
}

func TestUnifiedLimitsAndNumbers(t *testing.T) {
	tr := fakeV2(t, "cpu io memory pids\n")
	tr.unify(tr.root.Dir)
	u := &userGroup{by: map[string]carrier{}}
	if err := tr.make("pens/u5", u.by, true); err != nil {
		t.Fatal(err)
	}
	g, err := tr.group("pens/u5/sx", sandbox.Limits{Memory: 1 << 20, PIDs: 7, CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.mirrors) != 0 || g.Path != "/penstock/pens/u5/sx" {
		t.Errorf("%+v", g)
	}
	for file, want := range map[string]string{"memory.max": "1048576", "memory.swap.max": "0", "pids.max": "7", "cpu.max": "200000 100000"} {
		if got := text(t, g.dir, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if got := text(t, tr.dir, "pens/u5/cgroup.subtree_control"); got != "+io" { // the last one that was written
		t.Errorf("a user's group hands on %q", got)
	}
	for file, content := range map[string]string{
		"memory.events": "low 0\nhigh 0\nmax 31\noom 4\noom_kill 3\noom_group_kill 0\n", "pids.events": "max 12\n",
		"memory.current": "4096\n", "pids.current": "5\n", "cpu.stat": "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n",
	} {
		if err := os.WriteFile(filepath.Join(g.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Counts(); n != (Counts{OOMKills: 3, MemoryMax: 31, PIDsMax: 12}) {
		t.Errorf("%+v", n)
	}
	if n := g.Usage(); n != (Usage{Memory: 4096, PIDs: 5, CPU: 2500 * time.Microsecond}) {
		t.Errorf("%+v", n)
	}
	// A change is told when the file changes, as the kernel tells it by inotify.
	told := make(chan Counts, 8)
	g.Watch(func(n Counts) { told <- n })
	if err := os.WriteFile(filepath.Join(g.dir, "pids.events"), []byte("max 15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-told:
		if n != (Counts{PIDsMax: 3}) {
			t.Errorf("%+v", n)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
	}
	g.unwatch()
	g.unwatch = nil
}

// Where the service manager has delegated its group, the tree is in it, and the
// daemon in one of its own beside.
func TestDelegated(t *testing.T) {
	const service = "system.slice/penstock.service"
	for _, of := range []string{"/" + service, "/" + service + "/supervisor", "/system.slice/other.service", "/", "/../x"} {
		root := tree(t, map[string]string{service + "/supervisor/cgroup.procs": "", "system.slice/other.service/cgroup.procs": ""})
		if err := unix.Setxattr(filepath.Join(root, service), "user.delegate", []byte("1"), 0); err != nil {
			if errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("no extended attributes below the temporary directory")
			}
			t.Fatal(err)
		}
		got, err := delegated(Root{Dir: root, Of: of})
		if err != nil {
			t.Fatal(err)
		}
		want, moved := root, ""
		if strings.Contains(of, service) {
			want, moved = filepath.Join(root, service), "me"
		}
		if got != want {
			t.Errorf("%s: the tree is in %s, want %s", of, got, want)
		}
		if in := text(t, root, service, "supervisor/cgroup.procs"); (in != "") != (moved != "") {
			t.Errorf("%s: the daemon's group has %q", of, in)
		}
	}
}
