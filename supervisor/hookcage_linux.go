package supervisor

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps descriptors that this process has inherited from the programs that
// it starts outside of the pen: one could be a socket. What a child is to have is given
// to it by name.
func closeOnExec() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return fmt.Errorf("keep descriptors from the programs of hooks: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// caged is bwrap with a program in it.
type caged struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	pidfd int // of bwrap itself, -1 when it has ended
}

func (c *caged) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

// kill ends the cage from inside, by the first process of its namespace, with which
// the kernel ends all others: bwrap then takes them with it. Killed itself it would
// leave them to whoever is the machine's first process, which in a container may not
// care for the dead.
func (c *caged) kill() {
	if c.killFirst() {
		time.AfterFunc(time.Second, func() { c.cmd.Process.Kill() }) //nolint:errcheck // it has ended
		return
	}
	c.cmd.Process.Kill() //nolint:errcheck // it may have ended
}

func (c *caged) killFirst() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd < 0 {
		return false
	}
	pid := strconv.Itoa(c.cmd.Process.Pid)
	b, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	first, err2 := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || err2 != nil {
		return false // not yet, or a kernel that does not tell
	}
	fd, err := unix.PidfdOpen(first, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// As long as bwrap lives nobody else has taken its child from it, nor the number.
	again, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	alive := unix.PidfdSendSignal(c.pidfd, 0, nil, 0) == nil
	return err == nil && alive && string(again) == string(b) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}
