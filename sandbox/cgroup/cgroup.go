package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// prefix of the groups' names; the supervisor's process id and start time follow.
const prefix = "penstock-"

// ErrUnavailable says that this user can't make a group here.
var ErrUnavailable = errors.New("no delegated control group")

// Root is where the unified hierarchy is mounted, and which group a process is
// in. Of is its path as /proc/PID/cgroup says it.
type Root struct {
	Dir string
	Of  string
}

// needed returns the controllers that limits need.
func needed(l sandbox.Limits) []string {
	var out []string
	if l.Memory > 0 {
		out = append(out, "memory")
	}
	if l.PIDs > 0 {
		out = append(out, "pids")
	}
	if l.CPUs > 0 {
		out = append(out, "cpu")
	}
	return out
}

// period of cpu.max, in microseconds: the kernel's default.
const period = 100_000

// settings returns the control files' contents for limits, in the order in
// which they are written.
func settings(l sandbox.Limits) [][2]string {
	var out [][2]string
	if l.Memory > 0 {
		out = append(out,
			[2]string{"memory.max", strconv.FormatInt(l.Memory, 10)},
			// Or the limit would only move the pen to the swap device.
			[2]string{"memory.swap.max", "0"},
			[2]string{"memory.oom.group", "0"})
	}
	if l.PIDs > 0 {
		out = append(out, [2]string{"pids.max", strconv.FormatInt(l.PIDs, 10)})
	}
	if l.CPUs > 0 {
		quota := max(int64(math.Ceil(l.CPUs*period)), 1000) // the kernel refuses less than 1 ms
		out = append(out, [2]string{"cpu.max", fmt.Sprintf("%d %d", quota, period)})
	}
	return out
}

// parent finds the nearest group above root.Of that is ours to make a group in
// and can hand on the controllers.
func parent(root Root, controllers []string, writable func(string) bool) (string, error) {
	own := filepath.Clean("/" + root.Of)
	if strings.HasPrefix(own, "/..") {
		return "", fmt.Errorf("%w: this process's group %q is outside of what is mounted", ErrUnavailable, root.Of)
	}
	at := own
	if own != "/" {
		at = filepath.Dir(own)
	}
	why := errors.New("nothing above this process's group is writable")
	for {
		dir := filepath.Join(root.Dir, at)
		// Making a group needs the directory; putting a process in it needs the
		// process list of the common ancestor.
		if writable(dir) && writable(filepath.Join(dir, "cgroup.procs")) {
			err := delegate(dir, controllers, writable)
			if err == nil {
				return dir, nil
			}
			why = err
		}
		if at == "/" {
			return "", fmt.Errorf("%w: %w", ErrUnavailable, why)
		}
		at = filepath.Dir(at)
	}
}

// delegate checks that dir hands on the controllers, and turns on those that it
// does not yet.
func delegate(dir string, controllers []string, writable func(string) bool) error {
	have, err := fields(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	on, err := fields(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range controllers {
		if !have[c] {
			return fmt.Errorf("%s has no %s controller", dir, c)
		}
		if !on[c] {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	file := filepath.Join(dir, "cgroup.subtree_control")
	if !writable(file) {
		return fmt.Errorf("%s does not hand on %s", dir, strings.Join(missing, " "))
	}
	if err := os.WriteFile(file, []byte(strings.Join(missing, " ")), 0); err != nil {
		return fmt.Errorf("hand on %s: %w", strings.Join(missing, " "), err)
	}
	return nil
}

func fields(name string) (map[string]bool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, f := range strings.Fields(string(b)) {
		out[f] = true
	}
	return out, nil
}

// Group is one pen's control group.
type Group struct {
	dir string
	// Path is the group in the hierarchy, as /proc/PID/cgroup will say it.
	Path string
	f    *os.File
}

// create makes the group below dir and sets its limits.
func create(root Root, dir, name string, l sandbox.Limits) (_ *Group, err error) {
	g := &Group{dir: filepath.Join(dir, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	for _, s := range settings(l) {
		err := os.WriteFile(filepath.Join(g.dir, s[0]), []byte(s[1]), 0)
		if s[0] == "memory.swap.max" && errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without swap accounting
		}
		if err != nil {
			return nil, fmt.Errorf("set %s of the control group: %w", s[0], err)
		}
	}
	rel, err := filepath.Rel(root.Dir, g.dir)
	if err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	g.Path = "/" + rel
	if g.f, err = os.Open(g.dir); err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	return g, nil
}

// File is the open directory, for starting a process in the group. It stays
// the Group's.
func (g *Group) File() *os.File { return g.f }

// Dir is the group's directory on the host.
func (g *Group) Dir() string { return g.dir }

// Kill ends every process in the group at once (cgroup.kill, Linux 5.14).
func (g *Group) Kill() error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("kill control group: %w", err)
	}
	return nil
}

// Close removes the group, which must be empty. Calling it again does nothing.
func (g *Group) Close() error {
	if g.f != nil {
		g.f.Close()
		g.f = nil
	}
	if g.dir == "" {
		return nil
	}
	err := Remove(g.dir)
	g.dir = ""
	return err
}

// Remove removes an empty group; none is fine.
func Remove(dir string) error {
	if !strings.HasPrefix(filepath.Base(dir), prefix) {
		return fmt.Errorf("remove control group %s: not one of ours", dir)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}

// sweep removes groups below dir whose supervisor is gone. alive says whether
// the process that a name stands for lives.
func sweep(dir string, alive func(pid int, started string) bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, started, ok := owner(e.Name())
		if ok && e.IsDir() && !alive(pid, started) {
			Remove(filepath.Join(dir, e.Name())) //nolint:errcheck // not empty yet, or another's: the next time
		}
	}
}

// owner reads a group's name.
func owner(name string) (pid int, started string, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, "", false
	}
	number, started, ok := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	return pid, started, ok && err == nil && pid > 0 && started != ""
}

// unified takes the unified hierarchy's group out of /proc/PID/cgroup.
func unified(text string) (string, bool) {
	for _, line := range strings.Split(text, "\n") {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return p, true
		}
	}
	return "", false
}

// mountPoint takes where the unified hierarchy is out of a mount table.
func mountPoint(mountinfo string) (string, bool) {
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		if f := strings.Fields(before); ok && len(f) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			return f[4], true
		}
	}
	return "", false
}
