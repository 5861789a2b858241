package procs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout bounds KillBelow. Processes that fork faster than they are killed are
// left in the end, and the error says so.
const killTimeout = 5 * time.Second

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// KillBelow kills all processes that descend from root or are in a process group of the
// session's, but not root itself, and returns when none is left. Who has left its
// group, and lost its parents, is not found: nobody here inherits orphans but launchd.
func KillBelow(root int) error {
	deadline := time.Now().Add(killTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		table, err := processes()
		if err != nil {
			return err
		}
		left := session(table, root)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end what the command has left: %d processes still run", len(left))
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may have ended
		}
		// They end when they next run, of which nothing tells.
		time.Sleep(pause)
	}
}

// processes is the machine's table.
func processes() ([]row, error) {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	out := make([]row, 0, len(list))
	for i := range list {
		p := &list[i]
		out = append(out, row{pid: int(p.Proc.P_pid), parent: int(p.Eproc.Ppid), group: int(p.Eproc.Pgid), ended: p.Proc.P_stat == zombie})
	}
	return out, nil
}
