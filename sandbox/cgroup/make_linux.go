package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// fallback are this system's resource limits.
var fallback = resources{unix.RLIMIT_DATA, unix.RLIMIT_NPROC, unix.RLIMIT_NOFILE, unix.RLIMIT_CORE}

// Make puts l into force for a pen that is about to be started: a group to
// start it in (nil if the machine gives none, or no limit needs one), resource
// limits for the shim, and what enforces what. The caller closes the group when
// the pen is gone. That limits fall short is not an error: the capabilities say
// it, and the supervisor decides.
func Make(l sandbox.Limits) (*Group, []Rlimit, []sandbox.Capability, error) {
	f := facts{
		root: os.Geteuid() == 0, perNamespace: since(5, 14),
		fallback: fallback, fix: fixGroup,
	}
	var g *Group
	if controllers := needed(l); len(controllers) > 0 {
		var err error
		if g, err = group(l, controllers); err != nil {
			if !errors.Is(err, ErrUnavailable) {
				return nil, nil, nil, err
			}
			f.why = err.Error()
		}
	}
	var by map[string]carrier
	if g != nil {
		by = g.by
	}
	limits, caps := plan(l, by, f)
	return g, limits, caps, nil
}

// group finds a delegated parent, sweeps it and makes a group in it.
func group(l sandbox.Limits, controllers []string) (*Group, error) {
	root, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := parent(root, controllers, writable)
	if err != nil {
		return nil, err
	}
	sweep(dir, func(pid int, started string) bool { return startTime(pid) == started })
	return create(root, dir, fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), startTime(os.Getpid())), l)
}

func find() (Root, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Root{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	own, ok := unified(string(text))
	if !ok {
		return Root{}, fmt.Errorf("%w: this machine has only version 1 of control groups", ErrUnavailable)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Root{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	h, _ := hierarchies(string(table))
	if h == nil {
		return Root{}, fmt.Errorf("%w: version 2 of control groups is not mounted", ErrUnavailable)
	}
	return Root{Dir: h.dir, Of: own}, nil
}

func writable(p string) bool { return unix.Access(p, unix.W_OK) == nil }

// startTime is when a process began, in the kernel's ticks: with its number it
// names a process for good. Empty if there is none.
func startTime(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name, in parentheses, may hold anything; field 22 counts from before it.
	i := strings.LastIndexByte(string(text), ')')
	f := strings.Fields(string(text)[i+1:])
	if i < 0 || len(f) < 20 {
		return ""
	}
	return f[19]
}

// since says whether the kernel is that version or newer.
func since(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b)
	return a > major || a == major && b >= minor
}
