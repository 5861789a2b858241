package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout is how long killed processes may take to be gone. One that waits
// for a disk does not die before that answers.
const killTimeout = 10 * time.Second

// Kill ends every process in the group at once (cgroup.kill, Linux 5.14), frozen
// ones too. Where the kernel has no such file it freezes the group, so that none
// can fork, and kills one after the other. It does not wait, see Empty.
func (g *Group) Kill() error {
	err := os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		g.freeze(true) //nolint:errcheck // then it takes more rounds
		err = killMembers(g.dir, time.Now().Add(killTimeout))
		g.freeze(false) //nolint:errcheck // nobody is left
	}
	// They have never left the others but by root's hand.
	for _, dir := range g.mirrors {
		if err == nil {
			err = killMembers(dir, time.Now().Add(killTimeout))
		}
	}
	if err != nil {
		return fmt.Errorf("kill control group: %w", err)
	}
	return nil
}

// killMembers kills what a directory's process list names until it is empty.
func killMembers(dir string, deadline time.Time) error {
	for {
		list, err := members(dir)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, pid := range list {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // it is gone
			}
			// The number may be another's by now; the descriptor stays with who it is.
			if now, err := members(dir); err == nil && slices.Contains(now, pid) {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)                                                                                                //nolint:errcheck // it may have ended
				unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(min(time.Until(deadline), 100*time.Millisecond), 0)/time.Millisecond)) //nolint:errcheck // the list decides
			}
			unix.Close(fd)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: processes %v don't die", dir, list)
		}
	}
}

// members lists the processes of one group.
func members(dir string) (out []int, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil, nil
		}
		return nil, err
	}
	for _, f := range strings.Fields(string(text)) {
		// 0 is one of another process namespace.
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out, nil
}

// Members lists the processes in the group.
func (g *Group) Members() ([]int, error) { return members(g.dir) }

// Freezes tells whether the kernel can stop the group (Linux 5.2).
func (g *Group) Freezes() bool {
	_, err := os.Stat(filepath.Join(g.dir, "cgroup.freeze"))
	return err == nil
}

// Freeze stops all processes of the group, or lets them go on. It returns when
// they have stopped.
func (g *Group) Freeze(on bool) error {
	if err := g.freeze(on); err != nil {
		return err
	}
	if !on {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return g.await(ctx, "frozen", 1)
}

func (g *Group) freeze(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.freeze"), []byte(value), 0); err != nil {
		return fmt.Errorf("freeze control group: %w", err)
	}
	return nil
}

// Empty waits until no process is in the group.
func (g *Group) Empty(ctx context.Context) error { return g.await(ctx, "populated", 0) }

// await waits for a line of cgroup.events.
func (g *Group) await(ctx context.Context, name string, want uint64) error {
	file := filepath.Join(g.dir, "cgroup.events")
	return awaitFile(ctx, file, func() (bool, error) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return true, nil // the group is gone, and with it what was in it
		}
		return counters(string(text))[name] == want, err
	})
}

// awaitFile returns when done says so, asking it again at each change of a
// control file.
func awaitFile(ctx context.Context, file string, done func() (bool, error)) error {
	if ok, err := done(); ok || err != nil {
		return err
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if ok, _ := done(); ok {
			return nil
		}
		return fmt.Errorf("watch control group: %w", err)
	}
	defer unix.Close(fd)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch control group: %w", err)
	}
	defer unix.Close(stop)
	signalled := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // it is open
		close(signalled)
	})
	defer func() {
		if !cancel() {
			<-signalled // it writes to a descriptor that is about to be closed
		}
	}()
	buf := make([]byte, 256)
	for {
		// Reading is what arms the next event (kernfs).
		unix.Pread(fd, buf, 0) //nolint:errcheck // done reads it for good
		if ok, err := done(); ok || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("watch control group: %w", ctx.Err())
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch control group: %w", err)
		}
	}
}
