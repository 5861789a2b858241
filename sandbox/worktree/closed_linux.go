package worktree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/confine"
)

// closed runs a shell script of ours in a pen with nothing to reach: no network,
// no home, no process but its own, the pen's system call filter. bwrap is started
// directly, since there is no session: nothing decides, nothing is recorded,
// nothing listens.
type closed struct {
	bwrap string
	git   string // directory of the git program, shown if it is not the system's
	binds []bind
	env   []string // NAME=value
}

// bind shows a host path in the closed pen.
type bind struct {
	source, target string
	write          bool
}

// Bounds of what runs in a closed pen, which reads what a tool wrote.
const (
	closedCPU    = 1800    // seconds
	closedMemory = 2 << 30 // bytes that a process may have of its own
	closedDisk   = 2 << 30 // bytes of its /tmp
	closedTmp    = "/tmp"  // the only writable place
	fdFilter     = 3       // of bwrap
)

// run executes the script with sh and copies what it prints to out.
func (c *closed) run(ctx context.Context, verb, script string, out io.Writer) error {
	filter, err := confine.PenFilter(false)
	if err != nil {
		return fmt.Errorf("make the closed pen's filter: %w", err)
	}
	f, err := sealed(filter)
	if err != nil {
		return err
	}
	defer f.Close()
	args := []string{
		"--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv",
		"--hostname", "pen", "--seccomp", strconv.Itoa(fdFilter),
		"--size", strconv.Itoa(closedDisk), "--perms", "0700", "--tmpfs", closedTmp,
	}
	for _, p := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu", "/run/current-system", c.git} {
		if p == "" {
			continue
		}
		if target, err := os.Readlink(p); err == nil {
			args = append(args, "--symlink", target, p)
			continue
		}
		args = append(args, "--ro-bind-try", p, p)
	}
	for _, b := range c.binds {
		how := "--ro-bind"
		if b.write {
			how = "--bind"
		}
		args = append(args, how, b.source, b.target)
	}
	search := "/usr/bin:/bin:/run/current-system/sw/bin" // never an empty entry: that is the tool's tree
	if c.git != "" {
		search = c.git + ":" + search
	}
	for _, e := range append([]string{
		"HOME=/nowhere", "PATH=" + search, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=none",
	}, c.env...) {
		name, value, _ := strings.Cut(e, "=")
		args = append(args, "--setenv", name, value)
	}
	args = append(args, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", closedTmp, "--",
		"/bin/sh", "-euc", fmt.Sprintf("ulimit -t %d; ulimit -d %d; ulimit -c 0\n%s", closedCPU, closedMemory>>10, script))
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, c.bwrap, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = []string{}, out, &tail{w: &errs}, []*os.File{f}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s in a closed pen: %w", verb, context.Cause(ctx))
		}
		if s := errs.String(); s != "" {
			return fmt.Errorf("%s in a closed pen: %s", verb, lastWords(s))
		}
		return fmt.Errorf("%s in a closed pen: %w", verb, err)
	}
	return nil
}

// sealed is a memory file with content, at its beginning.
func sealed(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the closed pen's filter: %w", err)
	}
	f := os.NewFile(uintptr(fd), "filter")
	if _, err = f.Write(content); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make the closed pen's filter: %w", err)
	}
	return f, nil
}

// closed returns the closed pen of a worktree; what the tool wrote is writable
// only before there is a tool.
func (h *Held) closed(write bool) *closed {
	c := &closed{bwrap: h.store.bwrap, binds: []bind{
		{h.path(ownDir), ownPath, false},
		{filepath.Join(h.Common, "objects"), ObjectsPath, false},
		{h.GitDir(), GitPath, write},
		{h.Tree(), treePath, write},
	}, env: []string{"BASE=" + h.Base, "BRANCH=" + h.Branch}}
	if dir := filepath.Dir(h.store.git.path); dir != "/usr/bin" && dir != "/bin" {
		c.git = dir
	}
	return c
}

// Where the closed pen has what else it needs.
const (
	ownPath  = "/run/penstock/own"
	treePath = "/run/penstock/tree"
)
