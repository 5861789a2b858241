package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// Groups are the control groups that the daemon makes.
type Groups interface {
	// Pen makes the group of one session's pen.
	Pen(uid int, session string, l sandbox.Limits) (Group, error)
	// Proxy makes the group of one proxy.
	Proxy(slot int) (Group, error)
	// Ours tells whether a process whose /proc/PID/cgroup is text is in a
	// session's pen.
	Ours(text string) bool
	Close() error
}

// Group is one control group.
type Group interface {
	Add(pid int) error
	// Release takes a process out again that is none of the session's.
	Release(pid int)
	// Holds tells whether a process whose /proc/PID/cgroup is text is in it.
	Holds(text string) bool
	Path() string
	ID() uint64 // in the unified hierarchy, 0 if it isn't there
	// Limits says what is in force, and what the shim is to set.
	Limits() ([]daemonctl.Rlimit, []sandbox.Capability)
	Usage() (memory, pids uint64, cpu time.Duration)
	// Kill ends every process in it and returns when there is none left.
	Kill(context.Context) error
	// Close removes it; nothing is in it any more. It may be called twice.
	Close() error
}

// unified is a tree in the unified hierarchy.
type unified struct {
	mount string
	top   string // path below mount
}

// NewUnified makes the tree top below the hierarchy's mount point, after it has
// ended and removed what a dead daemon left there.
func NewUnified(mount, top string) (Groups, error) {
	u := &unified{mount: mount, top: top}
	dir := filepath.Join(mount, top)
	if err := sweepGroup(dir); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, filepath.Join(dir, "proxies"), filepath.Join(dir, "pens")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, fmt.Errorf("make control group: %w", err)
		}
	}
	return u, nil
}

// sweepGroup kills what is in a group and below it and removes all of it.
func sweepGroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := len(dirs) - 1; i >= 0; i-- {
		g := &unifiedGroup{dir: dirs[i]}
		if err := g.Kill(ctx); err != nil {
			return err
		}
		if err := g.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (u *unified) make(path string) (*unifiedGroup, error) {
	g := &unifiedGroup{dir: filepath.Join(u.mount, u.top, path), path: "/" + filepath.Join(u.top, path)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	return g, nil
}

func (u *unified) Pen(uid int, session string, l sandbox.Limits) (Group, error) {
	user := filepath.Join("pens", "u"+strconv.Itoa(uid))
	if err := os.Mkdir(filepath.Join(u.mount, u.top, user), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	return u.make(filepath.Join(user, "s"+session))
}

func (u *unified) Proxy(slot int) (Group, error) {
	return u.make(filepath.Join("proxies", strconv.Itoa(slot)))
}

func (u *unified) Ours(text string) bool { return within(text, "/"+u.top+"/pens/") }

func (u *unified) Close() error { return sweepGroup(filepath.Join(u.mount, u.top)) }

// within tells whether a line of /proc/PID/cgroup names a group below prefix.
func within(text, prefix string) bool {
	for line := range strings.Lines(text) {
		if _, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "::"); ok && strings.HasPrefix(path+"/", prefix) {
			return true
		}
	}
	return false
}

type unifiedGroup struct{ dir, path string }

func (g *unifiedGroup) Path() string           { return g.path }
func (g *unifiedGroup) Holds(text string) bool { return within(text, g.path+"/") }

func (g *unifiedGroup) ID() uint64 {
	var st unix.Stat_t
	if unix.Stat(g.dir, &st) != nil {
		return 0
	}
	return st.Ino
}

func (g *unifiedGroup) Limits() ([]daemonctl.Rlimit, []sandbox.Capability) { return nil, nil }

func (g *unifiedGroup) Usage() (memory, pids uint64, cpu time.Duration) { return 0, 0, 0 }

func (g *unifiedGroup) Add(pid int) error {
	err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0)
	if err != nil {
		return fmt.Errorf("put process %d into its control group: %w", pid, err)
	}
	return nil
}

// Release puts a process where its parent is, from where it had come by fork.
func (g *unifiedGroup) Release(pid int) {
	to := "/"
	if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status"); err == nil {
		if f, err := parseStatus(string(text)); err == nil {
			if text, err = os.ReadFile("/proc/" + strconv.Itoa(f.ppid) + "/cgroup"); err == nil {
				for line := range strings.Lines(string(text)) {
					if path, ok := strings.CutPrefix(line, "0::"); ok {
						to = strings.TrimSpace(path)
					}
				}
			}
		}
	}
	mount := strings.TrimSuffix(g.dir, g.path)
	os.WriteFile(filepath.Join(mount, to, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0) //nolint:errcheck // gone is as good
}

func (g *unifiedGroup) Kill(ctx context.Context) error {
	for {
		text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || err == nil && len(text) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) != nil {
			for _, word := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
					unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // gone is as good
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the processes of %s: %w", g.dir, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func (g *unifiedGroup) Close() error {
	for range 100 { // a process that has just died is still being taken out
		err := os.Remove(g.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("remove control group %s: %w", g.dir, unix.EBUSY)
}
