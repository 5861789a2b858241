package posture

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read observes process pid and its parent, the pen's first process.
func Read(pid int) (*Observation, error) {
	o, err := privileges(pid)
	if err != nil {
		return nil, err
	}
	dir := proc(pid)
	if o.Namespaces, err = NamespacesOf(pid); err != nil {
		return nil, err
	}
	if o.UIDMap, err = idMap(dir + "/uid_map"); err != nil {
		return nil, err
	}
	if o.GIDMap, err = idMap(dir + "/gid_map"); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("observe process: %w", err)
	}
	o.Cgroup = unifiedCgroup(string(text))
	if text, err = os.ReadFile(dir + "/mountinfo"); err != nil {
		return nil, fmt.Errorf("observe process: %w", err)
	}
	if o.Mounts, err = ParseMounts(string(text)); err != nil {
		return nil, err
	}
	if o.Files, err = files(dir); err != nil {
		return nil, err
	}
	if o.Init, err = privileges(o.Parent); err != nil {
		return nil, err
	}
	return o, nil
}

// ReadBeside reads a process that was put into a pen from outside: its parent is not the
// pen's first process, which is init.
func ReadBeside(pid, init int) (*Observation, error) {
	o, err := Read(pid)
	if err != nil {
		return nil, err
	}
	o.Init, err = privileges(init)
	return o, err
}

func proc(pid int) string { return "/proc/" + strconv.Itoa(pid) }

func privileges(pid int) (*Observation, error) {
	text, err := os.ReadFile(proc(pid) + "/status")
	if err != nil {
		return nil, fmt.Errorf("observe process: %w", err)
	}
	o := &Observation{PID: pid}
	return o, parseStatus(string(text), o)
}

// Self returns what an Expectation needs of the supervisor itself.
func Self() (Namespaces, int, error) {
	ns, err := NamespacesOf(os.Getpid())
	if err != nil {
		return ns, 0, err
	}
	o, err := privileges(os.Getpid())
	if err != nil {
		return ns, 0, err
	}
	return ns, o.Filters, nil
}

// NamespacesOf reads a process's namespaces. One that the kernel does not have
// is 0.
func NamespacesOf(pid int) (Namespaces, error) {
	var n Namespaces
	for _, f := range []struct {
		name string
		to   *uint64
	}{{"user", &n.User}, {"net", &n.Net}, {"pid", &n.PID}, {"mnt", &n.Mnt}, {"ipc", &n.IPC}, {"uts", &n.UTS}, {"cgroup", &n.Cgroup}} {
		link, err := os.Readlink(proc(pid) + "/ns/" + f.name)
		if os.IsNotExist(err) && f.name == "cgroup" {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("observe process: %w", err)
		}
		// "user:[4026531837]"
		_, number, _ := strings.Cut(strings.TrimSuffix(link, "]"), ":[")
		if *f.to, err = strconv.ParseUint(number, 10, 64); err != nil {
			return n, fmt.Errorf("observe process: namespace %q: %w", link, err)
		}
	}
	return n, nil
}

func idMap(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("observe process: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	return strings.Join(lines, ", "), nil
}

func files(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return nil, fmt.Errorf("observe process: %w", err)
	}
	var out []File
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f := File{FD: fd}
		link := dir + "/fd/" + e.Name()
		if f.Name, err = os.Readlink(link); err != nil {
			return nil, fmt.Errorf("observe process: %w", err)
		}
		var st unix.Stat_t
		if err := unix.Stat(link, &st); err != nil {
			return nil, fmt.Errorf("observe process: descriptor %d: %w", fd, err)
		}
		f.ID = FileID{uint64(st.Dev), st.Ino}
		f.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
		f.Socket = st.Mode&unix.S_IFMT == unix.S_IFSOCK
		info, err := os.ReadFile(dir + "/fdinfo/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("observe process: %w", err)
		}
		for _, line := range strings.Split(string(info), "\n") {
			if flags, ok := strings.CutPrefix(line, "flags:"); ok {
				n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 64)
				f.CloseOnExec = err == nil && n&unix.O_CLOEXEC != 0
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// Identify returns which object an open file is, for Expectation.Stdio.
func Identify(f *os.File) (FileID, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return FileID{}, err
	}
	var (
		st     unix.Stat_t
		failed error
	)
	if err := raw.Control(func(fd uintptr) { failed = unix.Fstat(int(fd), &st) }); err != nil {
		return FileID{}, err
	}
	return FileID{uint64(st.Dev), st.Ino}, failed
}
