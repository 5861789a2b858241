package posture

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// good returns a matching pair, made anew for each change.
func good() (*Expectation, *Observation) {
	spec := &sandbox.Spec{
		Penstock: "/usr/bin/penstock",
		Mounts: []sandbox.Mount{
			{Source: "/usr", Target: "/usr"},
			{Source: "/w", Target: "/w", Write: true},
			{Source: "/w/.git", Target: "/w/.git", Write: true},
			{Source: "/w/.git/hooks", Target: "/w/.git/hooks"},
			{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true},
			{Kind: sandbox.BlankDir, Target: "/w/.vscode"},
			{Kind: sandbox.Blank, Target: "/w/secret"},
			{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
		},
		Files: []sandbox.File{{Target: "/etc/hosts"}},
	}
	e := &Expectation{
		UID: 1000, GID: 1000, HostUID: 1000, HostGID: 1000,
		Ours: Namespaces{1, 2, 3, 4, 5, 6, 7}, Net: 12, Owner: 10,
		Stdio: [3]FileID{{1, 1}, {1, 2}, {1, 3}}, Control: 99, Cgroup: "/a/penstock-1-1",
		Mounts: Declared(spec),
	}
	caps := func() map[string]uint64 {
		return map[string]uint64{"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
	}
	mount := func(target, root, typ, options string) Mounted {
		return Mounted{Device: "8:1", Root: root, Target: target, Type: typ, Options: strings.Split(options, ",")}
	}
	o := &Observation{
		UID: [4]int{1000, 1000, 1000, 1000}, GID: [4]int{1000, 1000, 1000, 1000},
		NSPID: []int{5000, 2}, Caps: caps(), NoNewPrivs: true, Seccomp: 2, Filters: 1,
		Namespaces: Namespaces{11, 12, 13, 14, 15, 16, 17}, UIDMap: "1000 1000 1", GIDMap: "1000 1000 1",
		Cgroup: "/a/penstock-1-1",
		Files: []File{
			{FD: 0, ID: FileID{1, 1}}, {FD: 1, ID: FileID{1, 2}}, {FD: 2, ID: FileID{1, 3}},
			{FD: 5, ID: FileID{9, 99}, Socket: true, CloseOnExec: true, Name: "socket:[99]"},
		},
		Mounts: []Mounted{
			mount("/", "/newroot", "tmpfs", "ro,nosuid,nodev"),
			mount("/usr", "/usr", "ext4", "ro,nosuid,nodev"),
			mount("/w", "/home/w", "ext4", "rw,nosuid,nodev"),
			mount("/w/.git", "/home/w/.git", "ext4", "rw,nosuid,nodev"),
			mount("/w/.git/hooks", "/home/w/.git/hooks", "ext4", "ro,nosuid,nodev"),
			mount("/tmp", "/", "tmpfs", "rw,nosuid,nodev"),
			mount("/w/.vscode", "/", "tmpfs", "rw,nosuid,nodev"),
			mount("/w/secret", "/null", "devtmpfs", "ro,nosuid,nodev"),
			mount("/run/penstock/penstock", "/usr/bin/penstock", "ext4", "ro,nosuid,nodev"),
			mount("/etc/hosts", "/x", "tmpfs", "ro,nosuid,nodev"),
			mount("/proc", "/", "proc", "rw,nosuid,nodev"),
			mount("/proc/sys", "/sys", "proc", "ro,nosuid,nodev"),
			mount("/proc/bus", "/bus", "proc", "ro,nosuid,nodev"),
			mount("/dev", "/", "tmpfs", "rw,nosuid,nodev"),
			mount("/dev/null", "/null", "devtmpfs", "rw,nosuid"),
			mount("/dev/pts", "/", "devpts", "rw,nosuid"),
			mount("/usr/share/nfs", "/", "nfs", "ro,nosuid,nodev"), // the host's, below /usr
		},
		Init: &Observation{NSPID: []int{4999, 1}, Caps: caps(), NoNewPrivs: true, Seccomp: 2, Filters: 1},
	}
	return e, o
}

// TestSame: what was put into a pen is where the pen's command is, or it is refused.
func TestSame(t *testing.T) {
	ns := Namespaces{User: 1, Net: 2, PID: 3, Mnt: 4, IPC: 5, UTS: 6, Cgroup: 7}
	first := &Observation{Namespaces: ns, Cgroup: "/a", Filters: 1}
	if err := Same(first, &Observation{Namespaces: ns, Cgroup: "/a", Filters: 1}); err != nil {
		t.Error(err)
	}
	other := ns
	other.Mnt++
	for want, o := range map[string]*Observation{
		"namespaces are": {Namespaces: other, Cgroup: "/a", Filters: 1},
		"cgroup is":      {Namespaces: ns, Cgroup: "/", Filters: 1},
		"it has 0":       {Namespaces: ns, Cgroup: "/a"},
	} {
		if err := Same(first, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestGoodIsGood(t *testing.T) {
	if err := Check(good()); err != nil {
		t.Fatal(err)
	}
}

// TestEachDifferenceIsFound changes one thing at a time.
func TestEachDifferenceIsFound(t *testing.T) {
	at := func(o *Observation, target string) *Mounted {
		for i := range o.Mounts {
			if o.Mounts[i].Target == target {
				return &o.Mounts[i]
			}
		}
		panic(target)
	}
	turned := map[string]bool{}
	for want, change := range map[string]func(*Expectation, *Observation){
		"user ids":                       func(_ *Expectation, o *Observation) { o.UID[3] = 0 },
		"group ids":                      func(_ *Expectation, o *Observation) { o.GID[1] = 0 },
		"uid map":                        func(_ *Expectation, o *Observation) { o.UIDMap = "0 0 4294967295" },
		"gid map":                        func(_ *Expectation, o *Observation) { o.GIDMap = "" },
		"CapBnd":                         func(_ *Expectation, o *Observation) { o.Caps["CapBnd"] = 1 << 21 },
		"CapAmb":                         func(_ *Expectation, o *Observation) { delete(o.Caps, "CapAmb") },
		"no_new_privs is off":            func(_ *Expectation, o *Observation) { o.NoNewPrivs = false },
		"seccomp mode is 0":              func(_ *Expectation, o *Observation) { o.Seccomp = 0 },
		"with 1 filters":                 func(e *Expectation, _ *Observation) { e.Filters = 1 },
		"user namespace is the host's":   func(e *Expectation, o *Observation) { o.Namespaces.User = e.Ours.User },
		"net namespace is the host's":    func(e *Expectation, o *Observation) { o.Namespaces.Net = e.Ours.Net },
		"pid namespace is the host's":    func(e *Expectation, o *Observation) { o.Namespaces.PID = e.Ours.PID },
		"mnt namespace is the host's":    func(e *Expectation, o *Observation) { o.Namespaces.Mnt = e.Ours.Mnt },
		"ipc namespace is the host's":    func(e *Expectation, o *Observation) { o.Namespaces.IPC = e.Ours.IPC },
		"uts namespace is the host's":    func(e *Expectation, o *Observation) { o.Namespaces.UTS = e.Ours.UTS },
		"cgroup namespace is the host's": func(e *Expectation, o *Observation) { o.Namespaces.Cgroup = e.Ours.Cgroup },
		"ipc namespace could not":        func(_ *Expectation, o *Observation) { o.Namespaces.IPC = 0 },
		"net namespace is 22":            func(_ *Expectation, o *Observation) { o.Namespaces.Net = 22 },
		"owns the network":               func(e *Expectation, o *Observation) { o.Namespaces.User = e.Owner },
		"process ids":                    func(_ *Expectation, o *Observation) { o.NSPID = []int{5000} },
		"first process could not":        func(_ *Expectation, o *Observation) { o.Init = nil },
		"to be the pen's first":          func(_ *Expectation, o *Observation) { o.Init.NSPID = []int{4999, 7} },
		"first process: CapEff":          func(_ *Expectation, o *Observation) { o.Init.Caps["CapEff"] = 1 },
		"first process: seccomp":         func(_ *Expectation, o *Observation) { o.Init.Seccomp = 0 },
		"descriptor 1 is":                func(_ *Expectation, o *Observation) { o.Files[1].ID = FileID{1, 77} },
		"descriptor 0 is a directory":    func(_ *Expectation, o *Observation) { o.Files[0].Dir = true },
		"descriptor 2 is a directory or": func(_ *Expectation, o *Observation) { o.Files[2].Socket = true },
		"descriptor 7 is open": func(_ *Expectation, o *Observation) {
			o.Files = append(o.Files, File{FD: 7, Name: "/", Dir: true, CloseOnExec: true})
		},
		"descriptor 5 is open":     func(_ *Expectation, o *Observation) { o.Files[3].CloseOnExec = false },
		"descriptor 5":             func(_ *Expectation, o *Observation) { o.Files[3].ID.Ino = 98 },
		"descriptor 2 is not open": func(_ *Expectation, o *Observation) { o.Files = append(o.Files[:2], o.Files[3]) },
		"cgroup is":                func(_ *Expectation, o *Observation) { o.Cgroup = "/" },
		"mount /usr is writable":   func(_ *Expectation, o *Observation) { at(o, "/usr").Options[0] = "rw" },
		"mount /w/.git/hooks is":   func(_ *Expectation, o *Observation) { at(o, "/w/.git/hooks").Options[0] = "rw" },
		"mount /proc/sys is":       func(_ *Expectation, o *Observation) { at(o, "/proc/sys").Options[0] = "rw" },
		"mount / is writable":      func(_ *Expectation, o *Observation) { at(o, "/").Options[0] = "rw" },
		"/w/.git/hooks shows":      func(_ *Expectation, o *Observation) { at(o, "/w/.git/hooks").Root = "/home/.ssh" },
		"/w/.git shows":            func(_ *Expectation, o *Observation) { at(o, "/w/.git").Root = "/home/w/elsewhere" },
		"/w/.vscode is missing":    func(_ *Expectation, o *Observation) { at(o, "/w/.vscode").Target = "/tmp" },
		"/w/.vscode is a ext4":     func(_ *Expectation, o *Observation) { at(o, "/w/.vscode").Type = "ext4" },
		"allows set-user-id":       func(_ *Expectation, o *Observation) { at(o, "/w").Options = []string{"rw", "nodev"} },
		"allows devices":           func(_ *Expectation, o *Observation) { at(o, "/w").Options = []string{"rw", "nosuid"} },
		"propagates":               func(_ *Expectation, o *Observation) { at(o, "/w").Optional = []string{"shared:4"} },
		"/home (ext4) is not declared": func(_ *Expectation, o *Observation) {
			o.Mounts = append(o.Mounts, Mounted{Target: "/home", Type: "ext4", Options: []string{"ro", "nosuid", "nodev"}})
		},
		"/usr/x below /usr is writable": func(_ *Expectation, o *Observation) {
			o.Mounts = append(o.Mounts, Mounted{Target: "/usr/x", Type: "ext4", Options: []string{"rw", "nosuid", "nodev"}})
		},
		"/tmp/x (ext4) is not declared": func(_ *Expectation, o *Observation) {
			o.Mounts = append(o.Mounts, Mounted{Target: "/tmp/x", Type: "ext4", Options: []string{"rw", "nosuid", "nodev"}})
		},
		"/proc/x (proc) is not declared": func(_ *Expectation, o *Observation) {
			o.Mounts = append(o.Mounts, Mounted{Target: "/proc/x", Type: "proc", Options: []string{"rw", "nosuid", "nodev"}})
		},
	} {
		e, o := good()
		change(e, o)
		err := Check(e, o)
		var m Mismatch
		if !errors.As(err, &m) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		off := 0
		for _, c := range Controls(m) {
			if c.State != sandbox.Enforced {
				off++
				turned[c.Control] = c.Detail != "" && c.By == ""
			}
		}
		if off == 0 {
			t.Errorf("%s: every control is said to be enforced", want)
		}
	}
	for _, c := range Controls(nil) {
		if c.State != sandbox.Enforced || !turned[c.Control] {
			t.Errorf("no difference turns %+v off", c)
		}
	}
}

func TestParseMountinfo(t *testing.T) {
	got, err := ParseMounts(`36 35 98:0 /mnt1 /mnt\0402\134 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
37 36 0:5 / /x ro - tmpfs tmpfs rw
`)
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(got); s != `[{36 35 98:0 /mnt1 /mnt 2\ [rw noatime] [master:1 shared:2] ext3} {37 36 0:5 / /x [ro] [] tmpfs}]` {
		t.Error(s)
	}
	for _, bad := range []string{"", "1 2 3", "a b c d e f - g h i", "1 2 3 4 5 6 7 8 9 10"} {
		if _, err := ParseMounts(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	var o Observation
	text := "Name:\tx\nPPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t1\t1\t1\t1\nGroups:\t4 5\nNSpid:\t9\t2\nCapInh:\t0\nCapPrm:\t0\nCapEff:\tff\nCapBnd:\t0\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"
	if err := parseStatus(text, &o); err != nil {
		t.Fatal(err)
	}
	if o.Parent != 7 || o.UID != [4]int{1, 2, 3, 4} || len(o.Groups) != 2 || o.Caps["CapEff"] != 255 || !o.NoNewPrivs || o.Filters != 3 || o.NSPID[1] != 2 {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"", "Uid:\t1", "CapEff:\tx", strings.Replace(text, "CapAmb:\t0\n", "", 1)} {
		if err := parseStatus(bad, &Observation{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("1 2 3 4 \\0 - - - - -")
	f.Fuzz(func(t *testing.T, text string) {
		e, o := good()
		m, err := ParseMounts(text)
		if err != nil {
			return
		}
		o.Mounts = m
		Check(e, o) // no table makes it fail to answer
	})
}

func ExampleCheck() {
	e, o := good()
	o.NoNewPrivs = false
	fmt.Println(Check(e, o))
	// Output: verify pen: no_new_privs is off, declared on
}
