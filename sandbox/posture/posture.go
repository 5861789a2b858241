package posture

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// Namespaces are the inode numbers of a process's namespaces, as /proc/PID/ns
// shows them.
type Namespaces struct {
	User, Net, PID, Mnt, IPC, UTS, Cgroup uint64
}

// FileID says which object a descriptor refers to.
type FileID struct {
	Dev, Ino uint64
}

// Expectation is what a held child must be.
type Expectation struct {
	UID, GID         int // in the pen
	HostUID, HostGID int // as the supervisor sees them

	Ours Namespaces // the supervisor's: none may be shared
	// Net is the network namespace that the builder made; 0 checks only that it
	// is not ours.
	Net uint64
	// Owner is the user namespace that owns Net; 0 is not checked. The child
	// must be in another.
	Owner uint64

	// Filters is how many seccomp filters the supervisor itself has; the child
	// must have more.
	Filters int
	Stdio   [3]FileID
	Control uint64   // inode of the shim's socket
	Given   []FileID // what the command gets beside its streams; it ends with execve until then
	Cgroup  string   // path in the unified hierarchy; empty is not checked
	Mounts  []Mount
}

// Mount is one declared mount.
type Mount struct {
	Target   string
	ReadOnly bool
	Device   bool   // device files work in it
	Source   string // of a bind, empty for the others
	Type     string // of file system, empty is not checked
	Optional bool
}

// Observation is what the kernel says about a process.
type Observation struct {
	PID, Parent      int
	UID, GID         [4]int // real, effective, saved, file system
	Groups           []int
	NSPID            []int // its number in each pid namespace, ours first
	Caps             map[string]uint64
	NoNewPrivs       bool
	Seccomp, Filters int
	Namespaces       Namespaces
	UIDMap, GIDMap   string
	Cgroup           string
	Files            []File
	Mounts           []Mounted
	Init             *Observation // the pen's first process: identity and privileges only
}

// File is one open descriptor.
type File struct {
	FD          int
	ID          FileID
	Name        string // what the link in /proc says
	CloseOnExec bool
	Dir         bool
	Socket      bool
}

// Mounted is one line of mountinfo.
type Mounted struct {
	ID, Parent        int
	Device            string // major:minor
	Root, Target      string
	Options, Optional []string
	Type              string
}

// Difference is one thing that is not as declared.
type Difference struct {
	Control string // what does not hold for it, one of Controls
	Text    string
}

// Mismatch lists every difference found.
type Mismatch []Difference

func (m Mismatch) Error() string {
	texts := make([]string, len(m))
	for i, d := range m {
		texts[i] = d.Text
	}
	return "verify pen: " + strings.Join(texts, "; ")
}

func (m *Mismatch) add(control, format string, args ...any) {
	*m = append(*m, Difference{control, fmt.Sprintf(format, args...)})
}

// Check compares. Its error is a Mismatch.
func Check(e *Expectation, o *Observation) error {
	var m Mismatch
	m = append(m, checkIdentity(e, o)...)
	m = append(m, checkPrivileges("", o, e.Filters)...)
	m = append(m, checkNamespaces(e, o)...)
	m = append(m, checkFiles(e, o)...)
	m = append(m, checkMounts(e.Mounts, o.Mounts)...)
	if e.Cgroup != "" && o.Cgroup != e.Cgroup {
		m.add(processes, "cgroup is %q, declared %q", o.Cgroup, e.Cgroup)
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func checkIdentity(e *Expectation, o *Observation) (m Mismatch) {
	for _, id := range o.UID {
		if id != e.HostUID {
			m.add(privilege, "user ids are %v, declared %d", o.UID, e.HostUID)
			break
		}
	}
	for _, id := range o.GID {
		if id != e.HostGID {
			m.add(privilege, "group ids are %v, declared %d", o.GID, e.HostGID)
			break
		}
	}
	if want := fmt.Sprintf("%d %d 1", e.UID, e.HostUID); o.UIDMap != want {
		m.add(privilege, "uid map is %q, declared %q", o.UIDMap, want)
	}
	if want := fmt.Sprintf("%d %d 1", e.GID, e.HostGID); o.GIDMap != want {
		m.add(privilege, "gid map is %q, declared %q", o.GIDMap, want)
	}
	return m
}

// capabilitySets are the five of /proc/PID/status.
func capabilitySets() []string { return []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} }

func checkRights(who string, o *Observation) (m Mismatch) {
	for _, set := range capabilitySets() {
		if v, ok := o.Caps[set]; !ok || v != 0 {
			m.add(privilege, "%s%s is %x, declared 0", who, set, v)
		}
	}
	if !o.NoNewPrivs {
		m.add(privilege, "%sno_new_privs is off, declared on", who)
	}
	return m
}

func checkPrivileges(who string, o *Observation, filters int) (m Mismatch) {
	m = checkRights(who, o)
	if o.Seccomp != 2 || o.Filters <= filters {
		m.add(syscalls, "%sseccomp mode is %d with %d filters, declared 2 with more than %d", who, o.Seccomp, o.Filters, filters)
	}
	return m
}

func checkNamespaces(e *Expectation, o *Observation) (m Mismatch) {
	for _, n := range []struct {
		name, control string
		ours, found   uint64
	}{
		{"user", privilege, e.Ours.User, o.Namespaces.User},
		{"net", network, e.Ours.Net, o.Namespaces.Net},
		{"pid", processes, e.Ours.PID, o.Namespaces.PID},
		{"mnt", fileReads, e.Ours.Mnt, o.Namespaces.Mnt},
		{"ipc", processes, e.Ours.IPC, o.Namespaces.IPC},
		{"uts", processes, e.Ours.UTS, o.Namespaces.UTS},
		{"cgroup", processes, e.Ours.Cgroup, o.Namespaces.Cgroup},
	} {
		switch {
		case n.ours == 0 && n.found == 0 && n.name == "cgroup": // a kernel without
		case n.found == 0:
			m.add(n.control, "%s namespace could not be read", n.name)
		case n.found == n.ours:
			m.add(n.control, "%s namespace is the host's, declared its own", n.name)
		}
	}
	if e.Net != 0 && o.Namespaces.Net != e.Net {
		m.add(network, "net namespace is %d, declared %d", o.Namespaces.Net, e.Net)
	}
	if e.Owner != 0 && o.Namespaces.User == e.Owner {
		m.add(network, "user namespace is the one that owns the network, declared another")
	}
	if n := len(o.NSPID); n < 2 {
		m.add(processes, "it has the process ids %v, declared one in a namespace of its own", o.NSPID)
	}
	if o.Init == nil {
		m.add(processes, "the pen's first process could not be read")
		return m
	}
	if n := o.Init.NSPID; len(n) < 2 || n[len(n)-1] != 1 || len(n) != len(o.NSPID) {
		m.add(processes, "the parent has the process ids %v, declared to be the pen's first process", n)
	}
	m = append(m, checkPrivileges("the pen's first process: ", o.Init, e.Filters)...)
	return m
}

func checkFiles(e *Expectation, o *Observation) (m Mismatch) {
	seen := [3]bool{}
	for _, f := range o.Files {
		switch {
		case f.FD < 3:
			seen[f.FD] = true
			if f.ID != e.Stdio[f.FD] {
				m.add(descriptors, "descriptor %d is %q (%v), declared another file (%v)", f.FD, f.Name, f.ID, e.Stdio[f.FD])
			}
			if f.Dir || f.Socket {
				m.add(descriptors, "descriptor %d is a directory or socket: %q", f.FD, f.Name)
			}
		case f.Socket && f.ID.Ino == e.Control && f.CloseOnExec:
		case f.CloseOnExec && slices.Contains(e.Given, f.ID):
		case f.CloseOnExec && strings.HasPrefix(f.Name, "anon_inode:[event"):
			// The runtime's poller, gone with execve like the socket.
		default:
			m.add(descriptors, "descriptor %d is open, not declared: %q, close-on-exec %v", f.FD, f.Name, f.CloseOnExec)
		}
	}
	for fd, ok := range seen {
		if !ok {
			m.add(descriptors, "descriptor %d is not open, declared to be", fd)
		}
	}
	return m
}

// Declared returns the mounts that a bwrap pen of spec s must have.
func Declared(s *sandbox.Spec) []Mount {
	out := []Mount{
		{Target: "/", ReadOnly: true, Type: "tmpfs"},
		{Target: "/proc", Type: "proc"},
		{Target: "/proc/sys", ReadOnly: true, Type: "proc", Source: "/proc/sys"},
		{Target: "/dev", Type: "tmpfs"},
		{Target: sandbox.ShimPath, ReadOnly: true, Source: s.Penstock},
	}
	for _, m := range s.Mounts {
		d := Mount{Target: m.Target, Optional: m.Optional}
		switch m.Kind {
		case sandbox.Bind:
			d.Source, d.ReadOnly = m.Source, !m.Write
		case sandbox.Tmpfs, sandbox.BlankDir:
			d.Type = "tmpfs"
		case sandbox.Blank:
			d.ReadOnly = true
		case sandbox.Null:
			d.Device = true
		case sandbox.Symlink:
			continue
		}
		out = append(out, d)
	}
	for _, f := range s.Files {
		out = append(out, Mount{Target: f.Target, ReadOnly: true, Type: "tmpfs"})
	}
	return out
}

// checkMounts compares the declared mounts with the table. Further mounts are
// fine only where they take nothing away: the host's own below a declared bind,
// as read-only as it is, and bwrap's in /proc and /dev.
func checkMounts(declared []Mount, found []Mounted) (m Mismatch) {
	at := map[string]Mounted{} // the last one is on top
	for _, f := range found {
		at[f.Target] = f
		for _, o := range f.Optional {
			if strings.HasPrefix(o, "shared:") {
				m.add(fileReads, "mount %s propagates to the host", f.Target)
			}
		}
		if !has(f.Options, "nosuid") && f.Target != "/" {
			m.add(setUserID, "mount %s allows set-user-id programs", f.Target)
		}
	}
	want := map[string]Mount{}
	for _, d := range declared {
		want[d.Target] = d
	}
	targets := make([]string, 0, len(want))
	for t := range want {
		targets = append(targets, t)
	}
	sort.Strings(targets)
	for _, t := range targets {
		d := want[t]
		f, ok := at[t]
		if !ok {
			if !d.Optional {
				m.add(fileReads, "mount %s is missing", t)
			}
			continue
		}
		m = append(m, compare(d, f)...)
		m = append(m, compareRoot(d, f, want, at)...)
	}
	for _, f := range found {
		if _, ok := want[f.Target]; !ok {
			m = append(m, extra(f, want)...)
		}
	}
	return m
}

func compare(d Mount, f Mounted) (m Mismatch) {
	ro := has(f.Options, "ro")
	switch {
	case d.ReadOnly && !ro:
		m.add(fileWrites, "mount %s is writable, declared read-only", d.Target)
	case !d.ReadOnly && ro && d.Source == "":
		m.add(fileWrites, "mount %s is read-only, declared writable", d.Target)
	}
	if !d.Device && !has(f.Options, "nodev") && d.Target != "/" {
		m.add(devices, "mount %s allows devices", d.Target)
	}
	if d.Type != "" && f.Type != d.Type {
		m.add(fileReads, "mount %s is a %s, declared %s", d.Target, f.Type, d.Type)
	}
	return m
}

// compareRoot checks a bind inside a writable bind, where somebody could have
// swapped a directory for a link: it must show the very place below the other's
// root that its path says.
func compareRoot(d Mount, f Mounted, want map[string]Mount, at map[string]Mounted) (m Mismatch) {
	if d.Source == "" || d.Source != d.Target {
		return nil
	}
	for p := path.Dir(d.Target); p != "/"; p = path.Dir(p) {
		w, ok := want[p]
		if !ok {
			continue
		}
		if w.Source != p || w.ReadOnly {
			return nil
		}
		over := at[p]
		if over.Device != f.Device {
			return nil // a mount of the host's inside; links don't lead to one
		}
		if root := path.Join(over.Root, strings.TrimPrefix(d.Target, p)); f.Root != root {
			m.add(fileReads, "mount %s shows %q, declared %q", d.Target, f.Root, root)
		}
		return m
	}
	return nil
}

func extra(f Mounted, want map[string]Mount) Mismatch {
	undeclared := Mismatch{{fileReads, fmt.Sprintf("mount %s (%s) is not declared", f.Target, f.Type)}}
	for p := path.Clean("/" + f.Target); ; p = path.Dir(p) {
		w, ok := want[p]
		switch {
		case !ok && p != "/":
			continue
		case p == "/proc":
			// Covers: read-only parts of itself, nothing else.
			if has(f.Options, "ro") || f.Type == "tmpfs" {
				return nil
			}
			return undeclared
		case p == "/dev":
			if f.Type == "devpts" || f.Type == "tmpfs" || (f.Type == "devtmpfs" && f.Root != "/") || path.Dir(f.Target) == "/dev" {
				return nil
			}
			return undeclared
		case p == "/" || w.Source == "":
			return undeclared
		}
		if w.ReadOnly && !has(f.Options, "ro") {
			return Mismatch{{fileWrites, fmt.Sprintf("mount %s below %s is writable, declared read-only", f.Target, p)}}
		}
		return nil
	}
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
