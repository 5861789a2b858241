package procs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxNesting is how deep user namespaces can be (user_namespaces(7)).
const maxNesting = 33

// Within lists the processes that are in the user namespace with the given inode
// number, or in one below it, whoever their parents are. A process can enter
// namespaces below its own and never leave it upwards, so none is missed that the
// caller may look at, as the owner of a namespace may at everything in it.
func Within(owner uint64) (out []int) {
	if owner == 0 {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	known := map[uint64]bool{owner: true}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && within(pid, owner, known) && !ended(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// within says whether a process is in the namespace or below it. known has what was
// found out of others.
func within(pid int, owner uint64, known map[uint64]bool) bool {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { unix.Close(fd) }()
	var seen []uint64
	found := false
	for range maxNesting {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			return false
		}
		if is, ok := known[st.Ino]; ok {
			found = is
			break
		}
		seen = append(seen, st.Ino)
		up, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		if err != nil {
			break // EPERM: it is the caller's own, or not below it
		}
		unix.Close(fd)
		fd = up
	}
	for _, ino := range seen {
		known[ino] = found
	}
	return found
}

// ended says whether every thread of a process has.
func ended(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return true
	}
	for _, t := range threads {
		text, err := os.ReadFile(dir + "/" + t.Name() + "/stat")
		if err != nil {
			continue
		}
		if s, ok := parse(string(text)); ok && s.state != 'Z' && s.state != 'X' {
			return false
		}
	}
	return true
}

// killTimeout bounds KillWithin and KillBelow. Processes that fork faster than they are killed are
// left in the end, and the error says so.
const killTimeout = 5 * time.Second

// KillWithin kills all processes in a user namespace and below it, and returns when
// none is left.
func KillWithin(owner uint64) error {
	return killAll(func() []int { return Within(owner) }, func(pid int) bool { return within(pid, owner, map[uint64]bool{owner: true}) })
}

// KillBelow kills all processes that descend from root, but not root itself, and
// returns when none is left. What has lost root as an ancestor is not found: root has
// to inherit orphans (PR_SET_CHILD_SUBREAPER), and to live.
func KillBelow(root int) error {
	alive := func() []int { return slices.DeleteFunc(Below(root), ended) }
	// A parent that is killed before its child leaves it to root; who forks in between
	// is met in the next round.
	return killAll(alive, func(pid int) bool { return below(pid, root) })
}

// killAll kills the processes that list has until it has none. ours looks again once
// the process is held by a descriptor: from there on its number is no other's.
func killAll(list func() []int, ours func(pid int) bool) error {
	deadline := time.Now().Add(killTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left := list()
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			if ours(pid) {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) //nolint:errcheck // it may have ended
			}
			unix.Close(fd)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end the command: %d of its processes still run", len(left))
		}
		// They end when they next run, of which nothing tells.
		time.Sleep(pause)
	}
}
