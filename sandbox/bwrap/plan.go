package bwrap

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/rootfs"
)

// firstFile is the descriptor number of the first inherited file.
const firstFile = 3

// plan is a bwrap command before any descriptor exists.
type plan struct {
	args []string // for --args, one per element
	data [][]byte // contents of the descriptors after the fixed ones
	root *rootfs.Root
}

// Descriptors every command has, in this order from firstFile. The contents of
// files follow them.
const (
	fdArgs = firstFile + iota
	fdSeccomp
	fdData
)

// features are what differs between bwrap versions.
type features struct {
	disableUserns bool // --disable-userns, 0.8.0
	// prebuilt: the builder puts the root together (package rootfs) and bwrap
	// binds it as one.
	prebuilt bool
}

// procBlank are files of /proc that describe or steer the machine. Only root
// of the host can read or write them, but a caller who is root stays that user
// in the pen, without a capability, and procfs looks at the user alone. From
// runc's list, without what asks for a capability itself (kcore, mtrr); bwrap
// makes sysrq-trigger, irq and bus read-only. A mount costs bwrap 0.1 ms (it reads
// mountinfo again for each), so the list is what matters.
func procBlank() (dirs, files []string) {
	return []string{"/proc/acpi", "/proc/scsi", "/proc/fs", "/proc/driver"},
		[]string{"/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/vmallocinfo"}
}

// arguments lays out the options: namespaces, root, mounts in the order of the
// spec, files. present says which files of /proc this kernel has.
func arguments(s *sandbox.Spec, f features, fixed int, present func(string) bool) (*plan, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	p := &plan{}
	p.add("--unshare-user", "--uid", strconv.Itoa(s.UID), "--gid", strconv.Itoa(s.GID))
	p.add("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
	if f.disableUserns {
		// Beside the filter: a limit of the kernel that needs no list of calls.
		p.add("--disable-userns")
	}
	p.add("--hostname", s.Hostname, "--cap-drop", "ALL", "--die-with-parent", "--clearenv")
	// For the shim, which lives a few milliseconds; the command gets its own.
	p.add("--setenv", "GOMAXPROCS", "1", "--setenv", "GOGC", "off")
	p.add("--seccomp", strconv.Itoa(fdSeccomp))

	if f.prebuilt {
		p.root = &rootfs.Root{
			Mounts: append(append([]sandbox.Mount(nil), s.Mounts...), sandbox.Mount{Source: s.Penstock, Target: sandbox.ShimPath}),
			Files:  s.Files, Dirs: []string{"/proc"}, Devices: true,
		}
		// As it is, attributes included: all is nosuid already and, but for the
		// devices, nodev.
		p.add("--dev-bind", rootfs.Base, "/")
		p.kernel(s, present)
		return p, nil
	}
	for _, m := range s.Mounts {
		p.mount(m)
	}
	p.add("--ro-bind", s.Penstock, sandbox.ShimPath)
	for _, file := range s.Files {
		mode := file.Mode
		if mode == 0 {
			mode = 0o444
		}
		p.add("--perms", fmt.Sprintf("%04o", mode), "--ro-bind-data", strconv.Itoa(fdData+fixed+len(p.data)), file.Target)
		p.data = append(p.data, file.Content)
	}
	p.kernel(s, present)
	return p, nil
}

// kernel adds what only bwrap can mount, since it belongs to the namespaces
// that it makes: the process table, and devices.
func (p *plan) kernel(s *sandbox.Spec, present func(string) bool) {
	p.add("--proc", "/proc")
	// bwrap leaves /proc/sys as it is, because access(2) says that it can't be
	// written; but sysctl's own permission check gives root of the host, which a
	// caller may be, what the files' modes give it: core_pattern is a way to run
	// a program on the host. The source is the host's procfs; what it shows
	// depends on who looks.
	p.add("--ro-bind", "/proc/sys", "/proc/sys")
	if present("/proc/pressure") { // anybody may make the kernel watch it
		p.mount(sandbox.Mount{Kind: sandbox.BlankDir, Target: "/proc/pressure"})
	}
	if s.UID == 0 {
		dirs, files := procBlank()
		for _, d := range dirs {
			if present(d) {
				p.mount(sandbox.Mount{Kind: sandbox.BlankDir, Target: d})
			}
		}
		for _, name := range files {
			if present(name) {
				p.mount(sandbox.Mount{Kind: sandbox.Blank, Target: name})
			}
		}
	}
	if p.root == nil {
		p.add("--dev", "/dev")
	}
	// Last, since mount points are made in it. The root is a tmpfs of bwrap's.
	p.add("--remount-ro", "/")
}

func (p *plan) add(args ...string) { p.args = append(p.args, args...) }

func (p *plan) mount(m sandbox.Mount) {
	switch m.Kind {
	case sandbox.Bind:
		op := "--ro-bind"
		if m.Write {
			op = "--bind"
		}
		if m.Optional {
			op += "-try"
		}
		p.add(op, m.Source, m.Target)
	case sandbox.Tmpfs:
		if m.Size > 0 {
			p.add("--size", strconv.FormatInt(m.Size, 10))
		}
		mode := m.Mode
		if mode == 0 {
			mode = 0o755
		}
		p.add("--perms", fmt.Sprintf("%04o", mode), "--tmpfs", m.Target)
	case sandbox.Symlink:
		p.add("--symlink", m.Source, m.Target)
	case sandbox.Blank:
		// bwrap mounts without device access, so opening it fails with EACCES.
		p.add("--ro-bind", "/dev/null", m.Target)
	case sandbox.BlankDir:
		// Its own memory, a page, without write permission. What an owner who
		// changes that writes into it is lost with the pen.
		p.add("--perms", "0555", "--size", "4096", "--tmpfs", m.Target)
	case sandbox.Null:
		p.add("--dev-bind", "/dev/null", m.Target)
	}
}

// check refuses what bwrap would take for something else: an empty or relative
// path, a NUL that would end an argument early.
func check(s *sandbox.Spec) error {
	if s.UID < 0 || s.GID < 0 {
		return fmt.Errorf("plan pen: user %d, group %d: out of range", s.UID, s.GID)
	}
	if s.Hostname == "" || len(s.Hostname) > 63 || strings.ContainsAny(s.Hostname, "\x00/") {
		return fmt.Errorf("plan pen: host name %q: must have 1 to 63 characters", s.Hostname)
	}
	if err := checkPath(s.Penstock); err != nil {
		return fmt.Errorf("plan pen: this program: %w", err)
	}
	for _, m := range s.Mounts {
		if err := checkPath(m.Target); err != nil {
			return fmt.Errorf("plan mount: %w", err)
		}
		switch m.Kind {
		case sandbox.Bind:
			if err := checkPath(m.Source); err != nil {
				return fmt.Errorf("plan mount of %s: source: %w", m.Target, err)
			}
		case sandbox.Symlink:
			if m.Source == "" || strings.Contains(m.Source, "\x00") {
				return fmt.Errorf("plan link %s: no or impossible text %q", m.Target, m.Source)
			}
		case sandbox.Tmpfs, sandbox.Blank, sandbox.BlankDir, sandbox.Null:
		default:
			return fmt.Errorf("plan mount of %s: unknown kind %d", m.Target, m.Kind)
		}
		if m.Target == "/" && m.Kind != sandbox.Bind {
			return errors.New("plan mount of /: the root stays bwrap's own")
		}
	}
	for _, f := range s.Files {
		if err := checkPath(f.Target); err != nil {
			return fmt.Errorf("plan file: %w", err)
		}
	}
	return nil
}

func checkPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("path %q is not absolute", p)
	case p != path.Clean(p):
		return fmt.Errorf("path %q is not clean", p)
	case strings.Contains(p, "\x00"):
		return fmt.Errorf("path %q has a NUL byte", p)
	}
	return nil
}
