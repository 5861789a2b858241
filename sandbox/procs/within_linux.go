package procs

import (
	"fmt"
	"os"
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

// killTimeout bounds KillWithin. Processes that fork faster than they are killed are
// left in the end, and the error says so.
const killTimeout = 5 * time.Second

// KillWithin kills all processes in a user namespace and below it, and returns when
// none is left.
func KillWithin(owner uint64) error {
	deadline := time.Now().Add(killTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left := Within(owner)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			killWithin(pid, owner)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end the command: %d of its processes still run", len(left))
		}
		// They end when they next run, of which nothing tells.
		time.Sleep(pause)
	}
}

func killWithin(pid int, owner uint64) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// From here on the number is that of the descriptor's process, or of none.
	if within(pid, owner, map[uint64]bool{owner: true}) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) //nolint:errcheck // it may have ended
	}
}
