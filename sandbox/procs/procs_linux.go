package procs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a pen's processes use.
type Usage struct {
	Memory  uint64        // bytes that are no file's, of all together
	Threads uint64        // processes and their threads
	CPU     time.Duration // of those that live, and of the children they have waited for
}

// ticks per second of the times in /proc/PID/stat: USER_HZ, 100 on every machine
// that Go runs on.
const ticks = 100

// stat is what is read of /proc/PID/stat.
type stat struct {
	state   byte
	parent  int
	cpu     time.Duration
	threads uint64
}

// read reads one process; false if there is none.
func read(pid int) (s stat, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, false
	}
	return parse(string(text))
}

// parse takes a line of proc_pid_stat(5). The name, in parentheses, may hold
// anything, parentheses too; what follows the last one is the kernel's.
func parse(text string) (s stat, ok bool) {
	i := strings.LastIndexByte(text, ')')
	if i < 0 {
		return s, false
	}
	f := strings.Fields(text[i+1:])
	if len(f) < 18 {
		return s, false
	}
	s.state = f[0][0]
	s.parent, _ = strconv.Atoi(f[1])
	for _, at := range []int{11, 12, 13, 14} { // utime stime cutime cstime
		n, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return s, false
		}
		s.cpu += time.Duration(max(n, 0)) * (time.Second / ticks)
	}
	s.threads, _ = strconv.ParseUint(f[17], 10, 64)
	return s, true
}

// most bounds how many processes are looked at: a pen without a limit may hold as
// many as the machine.
const most = 1 << 17

// Below lists the processes that descend from root, parents before their
// children, without root itself.
func Below(root int) (out []int) {
	queue := []int{root}
	for i := 0; i < len(queue) && len(queue) < most; i++ {
		queue = append(queue, children(queue[i])...)
	}
	return queue[1:]
}

// children lists those of all threads of a process (proc_pid_task children,
// CONFIG_PROC_CHILDREN, which every distribution has).
func children(pid int) (out []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, t := range threads {
		text, err := os.ReadFile(dir + "/" + t.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil && n > 0 {
				out = append(out, n)
			}
		}
	}
	return out
}

// Sum adds up what the processes below root use.
func Sum(root int) (u Usage) {
	for _, pid := range Below(root) {
		s, ok := read(pid)
		if !ok {
			continue
		}
		u.CPU += s.cpu
		u.Threads += s.threads
		u.Memory += anonymous(pid)
	}
	return u
}

// anonymous is the memory of one process that would be lost with it.
func anonymous(pid int) (n uint64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name == "RssAnon" || name == "RssShmem" {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			n += kib << 10
		}
	}
	return n
}

// stopTimeout bounds Stop. Who forks faster than this stops is not honest.
const stopTimeout = 5 * time.Second

// Stop stops all processes below root, and returns when none runs any more.
func Stop(root int) error {
	deadline := time.Now().Add(stopTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		running := 0
		for _, pid := range Below(root) {
			if halted(pid) {
				continue
			}
			running++
			send(root, pid, unix.SIGSTOP)
		}
		if running == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop the pen: %d processes still run", running)
		}
		// A signal is taken when the process next runs, of which nothing tells.
		time.Sleep(pause)
	}
}

// halted says whether no thread of a process can run its program. The first one
// alone does not tell: it can have ended, a zombie, while the others go on.
func halted(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return true // it has ended
	}
	for _, t := range threads {
		text, err := os.ReadFile(dir + "/" + t.Name() + "/stat")
		if err != nil {
			continue
		}
		s, ok := parse(string(text))
		switch {
		case !ok || strings.IndexByte("TtZXx", s.state) >= 0:
		case s.state == 'D' && stopPending(dir+"/"+t.Name()):
			// In the kernel, and to be stopped when it leaves it. One that waits for the
			// child of a vfork, which is stopped already, does not leave it before.
		default:
			return false
		}
	}
	return true
}

// stopPending says whether SIGSTOP waits for a thread.
func stopPending(dir string) bool {
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name == "SigPnd" || name == "ShdPnd" {
			if set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && set&(1<<(unix.SIGSTOP-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// Continue lets them go on, children first: a shell must not see its child
// stopped, or it takes the terminal back.
func Continue(root int) {
	list := Below(root)
	slices.Reverse(list)
	for _, pid := range list {
		send(root, pid, unix.SIGCONT)
	}
}

// send signals pid if it is below root.
func send(root, pid int, sig unix.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// From here on the number is that of the descriptor's process, or of none.
	if below(pid, root) {
		unix.PidfdSendSignal(fd, sig, nil, 0) //nolint:errcheck // it may have ended
	}
}

// below says whether root is among the ancestors of a process.
func below(pid, root int) bool {
	for at, n := pid, 0; at != root; n++ {
		s, ok := read(at)
		if !ok || s.parent <= 1 || n > most {
			return false
		}
		at = s.parent
	}
	return true
}

// Traffic counts what was sent in a process's network namespace, over TCP with
// data in it and over UDP: nothing of keep-alive, so that it stands still when
// nobody says anything.
func Traffic(pid int) (n uint64, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/net/"
	extended, err := os.ReadFile(dir + "netstat")
	if err != nil {
		return 0, fmt.Errorf("read the pen's counters: %w", err)
	}
	plain, err := os.ReadFile(dir + "snmp")
	if err != nil {
		return 0, fmt.Errorf("read the pen's counters: %w", err)
	}
	sent, ok := column(string(extended), "TcpExt:", "TCPOrigDataSent")
	asked, also := column(string(plain), "Udp:", "OutDatagrams")
	if !ok || !also {
		return 0, errors.New("read the pen's counters: they are not there")
	}
	n = sent + asked
	// Without IPv6 there is no such file.
	if six, err := os.ReadFile(dir + "snmp6"); err == nil {
		for line := range strings.Lines(string(six)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "Udp6OutDatagrams" {
				more, _ := strconv.ParseUint(f[1], 10, 64)
				n += more
			}
		}
	}
	return n, nil
}

// column finds a value in the tables of /proc/net/snmp: a line of names, and one
// of values below it.
func column(text, table, name string) (uint64, bool) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != table {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(names), len(f)) {
			if names[i] == name {
				n, err := strconv.ParseUint(f[i], 10, 64)
				return n, err == nil
			}
		}
		return 0, false
	}
	return 0, false
}
