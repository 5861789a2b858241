package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ID is the group's number in the kernel (bpf_get_current_ancestor_cgroup_id),
// which is its inode in the unified hierarchy.
func (g *Group) ID() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	var st unix.Stat_t
	if g.id == 0 && g.f != nil && unix.Fstat(int(g.f.Fd()), &st) == nil {
		g.id = st.Ino
	}
	return g.id
}

// Add moves a process, with all its threads, into the group in every hierarchy.
// The caller holds the process by a pidfd and looks after this whether it still
// lives: if it does not, its number may have become another's, which Expel puts
// back. What it forks while Add runs may be left out: Holds tells of a process.
func (g *Group) Add(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return fmt.Errorf("join control group: %w", err)
	}
	g.mu.Lock()
	if g.origins == nil {
		g.origins = map[int]string{}
	}
	g.origins[pid] = string(text)
	g.mu.Unlock()
	for _, dir := range g.dirs() {
		if err := enter(dir, pid); err != nil {
			return fmt.Errorf("join control group %s: %w", dir, err)
		}
	}
	return nil
}

// Expel moves a process that Add moved to where it was, or to the topmost group
// where that is gone.
func (g *Group) Expel(pid int) error {
	g.mu.Lock()
	text := g.origins[pid]
	delete(g.origins, pid)
	g.mu.Unlock()
	all, err := mounted()
	if err != nil {
		return fmt.Errorf("leave control group: %w", err)
	}
	var errs []error
	for _, h := range all {
		in := false
		for _, dir := range g.dirs() {
			in = in || strings.HasPrefix(dir, h.dir+"/")
		}
		if !in {
			continue
		}
		if of, ok := groupOf(text, h); ok && enter(filepath.Join(h.dir, of), pid) == nil {
			continue
		}
		if err := enter(h.dir, pid); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("leave control group: %w", err))
		}
	}
	return errors.Join(errs...)
}

func enter(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// Holds says whether a process is in the group, or below it, in every hierarchy.
func (g *Group) Holds(pid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false, fmt.Errorf("read the control group of a process: %w", err)
	}
	return g.HoldsText(string(text))
}

// HoldsText says the same of a process whose /proc/PID/cgroup is text.
func (g *Group) HoldsText(text string) (bool, error) { return holds(text, g.dirs()) }

// Holds says whether a process whose /proc/PID/cgroup is text is in a pen of the
// tree.
func (t *Tree) Holds(text string) (bool, error) {
	return holds(text, []string{t.pens.Name()})
}

// holds says whether text names each of dirs, or a group below it.
func holds(text string, dirs []string) (bool, error) {
	all, err := mounted()
	if err != nil {
		return false, fmt.Errorf("read the control group of a process: %w", err)
	}
	for _, dir := range dirs {
		found := false
		for _, h := range all {
			if of, ok := groupOf(text, h); ok && within(filepath.Join(h.dir, of), dir) {
				found = true
			}
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

// HoldsPen tells whether a process is in any pen's group of the tree.
func (t *Tree) HoldsPen(pid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false, fmt.Errorf("read the control group of a process: %w", err)
	}
	all, err := mounted()
	if err != nil {
		return false, fmt.Errorf("read the control group of a process: %w", err)
	}
	for _, top := range t.tops() {
		for _, h := range all {
			if of, ok := groupOf(string(text), h); ok && within(filepath.Join(h.dir, of), filepath.Join(top, pensName)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// mounted reads which hierarchies there are; the unified one is the first.
func mounted() ([]hierarchy, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unified, v1 := hierarchies(string(table))
	if unified == nil {
		return nil, errors.New("version 2 of control groups is not mounted")
	}
	return append([]hierarchy{*unified}, v1...), nil
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// groupOf takes the group of a hierarchy out of /proc/PID/cgroup, relative to
// what of it is mounted.
func groupOf(text string, h hierarchy) (string, bool) {
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		match := parts[0] == "0" && parts[1] == "" && len(h.controllers) == 0
		for _, c := range strings.Split(parts[1], ",") {
			if c == "blkio" {
				c = blocks
			}
			match = match || len(h.controllers) > 0 && c == h.controllers[0]
		}
		if !match {
			continue
		}
		if h.root == "/" {
			return parts[2], true
		}
		if rest, ok := strings.CutPrefix(parts[2], h.root); ok && (rest == "" || rest[0] == '/') {
			return rest, true
		}
		return "", false
	}
	return "", false
}
