package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Role is the first argument of the trial's child.
const Role = "role:trial"

// patience with a child that makes five system calls.
const patience = 10 * time.Second

// The trial's steps, by the names under which the child tells of them.
const (
	stepHostname = "hostname"
	stepMount    = "mount"
	stepProc     = "proc"
	stepRoot     = "root"
)

// Try starts self as Role in namespaces of the pen's kinds and returns what was
// refused there. The error is of the trial itself.
func Try(ctx context.Context, self string) (*Tried, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, errs limited
	cmd := exec.CommandContext(ctx, self, Role)
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return &Tried{Namespaces: err}, nil
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("try what a pen needs: %w: %q", err, errs.b.String())
	}
	return parse(out.b.String())
}

// parse reads what the child says: a step and an errno in each line, 0 for success.
func parse(said string) (*Tried, error) {
	t := &Tried{}
	for line := range strings.Lines(said) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 12)
		where, known := map[string]*error{stepHostname: &t.Hostname, stepMount: &t.Mount, stepProc: &t.Proc, stepRoot: &t.Root}[name]
		if err != nil || !known {
			return nil, fmt.Errorf("try what a pen needs: the trial said %q", line)
		}
		if n != 0 {
			*where = unix.Errno(n)
		}
	}
	return t, nil
}

// limited keeps the beginning of what is written.
type limited struct{ b bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), max(0, 4096-l.b.Len()))])
	return len(p), nil
}

// Main is the trial's child: root of a new user namespace, and the first process of a
// new PID namespace. All that it mounts is in a mount namespace that goes with it.
func Main() int { return trial(os.Stdout) }

func trial(w io.Writer) int {
	say := func(step string, err error) bool {
		var errno unix.Errno
		if err != nil && !errors.As(err, &errno) {
			errno = unix.EIO
		}
		fmt.Fprintf(w, "%s %d\n", step, errno)
		return err == nil
	}
	say(stepHostname, unix.Sethostname([]byte("pen")))
	// First of all nothing may reach the mount namespace that this one was copied from.
	if !say(stepMount, unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")) {
		return 0
	}
	// Every container has a /proc; what is over it is seen by nobody else.
	const base = "/proc"
	proc := unix.Mount("proc", base, "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
	say(stepProc, proc)
	if !say(stepMount, unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")) {
		return 0
	}
	if err := unix.Chdir(base); err != nil {
		return 1
	}
	say(stepRoot, unix.PivotRoot(".", "."))
	return 0
}
