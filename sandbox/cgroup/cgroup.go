package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
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

// create makes the group below dir and sets its limits.
func create(root Root, dir, name string, l sandbox.Limits) (_ *Group, err error) {
	g := &Group{dir: filepath.Join(dir, name), by: map[string]carrier{}}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	for _, c := range needed(l) {
		g.by[c] = carrier{g.dir, true}
	}
	if err := g.set(l); err != nil {
		return nil, err
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
