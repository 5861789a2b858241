package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// Group is one pen's or proxy's control group: a directory of the unified
// hierarchy and, where controllers are on version 1, one in each of theirs.
// Its methods may be called concurrently.
type Group struct {
	dir string // in the unified hierarchy
	// Path is the group in the unified hierarchy, as /proc/PID/cgroup will say it.
	Path string
	f    *os.File
	id   uint64
	by   map[string]carrier // controller → where its files are
	// mirrors are the directories in hierarchies of version 1, each once.
	mirrors []string

	inTree bool   // of a Tree, not a user's own (Make)
	closed func() // tells the tree

	mu      sync.Mutex
	origins map[int]string // what /proc/PID/cgroup said of a process before Add
	watcher *watcher       // the tree's; nil: Watch makes one
	unwatch func()         // ends Watch
}

// Usage is what a group's processes use. What nothing counts is zero.
type Usage struct {
	Memory uint64 // bytes, the page cache that was charged to it included
	PIDs   uint64 // processes and threads
	CPU    time.Duration
}

// Counts says how often limits were hit.
type Counts struct {
	OOMKills  uint64 // processes that the kernel killed because the memory was full
	MemoryMax uint64 // times that the memory was full
	PIDsMax   uint64 // processes and threads that could not be made
}

// minus returns what came since, and whether that is anything.
func (c Counts) minus(old Counts) (Counts, bool) {
	d := Counts{c.OOMKills - min(old.OOMKills, c.OOMKills), c.MemoryMax - min(old.MemoryMax, c.MemoryMax), c.PIDsMax - min(old.PIDsMax, c.PIDsMax)}
	return d, d != Counts{}
}

// File is the group's directory in the unified hierarchy, opened for starting a
// process in it (clone3's CLONE_INTO_CGROUP) and for attaching programs. It
// stays the Group's.
func (g *Group) File() *os.File { return g.f }

// Dir is the group's directory on the host, in the unified hierarchy.
func (g *Group) Dir() string { return g.dir }

// dirs are all of the group's directories.
func (g *Group) dirs() []string { return append([]string{g.dir}, g.mirrors...) }

// set writes limits into the files of the group's controllers.
func (g *Group) set(l sandbox.Limits) error {
	for _, controller := range controllers {
		c, ok := g.by[controller]
		if !ok {
			continue
		}
		var devices []string
		if controller == blocks && (l.ReadRate > 0 || l.WriteRate > 0) {
			devices = blockDevices()
		}
		for _, s := range settings(controller, c.v2, l, devices) {
			err := os.WriteFile(filepath.Join(c.dir, s.file), []byte(s.value), 0)
			if s.optional && errors.Is(err, fs.ErrNotExist) || s.device && errors.Is(err, syscall.ENODEV) {
				continue
			}
			if err != nil {
				return fmt.Errorf("set %s of the control group: %w", s.file, err)
			}
		}
	}
	return nil
}

// blockDevices lists the numbers of the whole disks of this machine that hold
// something. What is in memory only has no rate to limit.
func blockDevices() (out []string) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		dir := filepath.Join("/sys/block", e.Name())
		size, err := os.ReadFile(filepath.Join(dir, "size"))
		if err != nil || strings.TrimSpace(string(size)) == "0" || strings.HasPrefix(e.Name(), "zram") || strings.HasPrefix(e.Name(), "ram") {
			continue
		}
		if number, err := os.ReadFile(filepath.Join(dir, "dev")); err == nil {
			out = append(out, strings.TrimSpace(string(number)))
		}
	}
	return out
}

// Close removes the group, which must be empty, from all hierarchies. Calling
// it again does nothing, after an error it tries again.
func (g *Group) Close() error {
	if g.unwatch != nil {
		g.unwatch()
		g.unwatch = nil
	}
	if g.f != nil {
		g.f.Close()
		g.f = nil
	}
	var errs []error
	if !g.inTree {
		if g.dir != "" {
			errs = append(errs, Remove(g.dir))
		}
	} else {
		for _, dir := range g.dirs() {
			errs = append(errs, rmdir(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	g.dir = ""
	if g.closed != nil {
		g.closed()
		g.closed = nil
	}
	return nil
}

// rmdir removes an empty directory; none is fine.
func rmdir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
