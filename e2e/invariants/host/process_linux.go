package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// Role is a process that a session consists of.
type Role string

// The roles. Builder is the process that builds the network and goes on as
// bwrap's outer process; Init is the pen's first process; Shim is the one that
// becomes the command, Command after it has. Daemon is the privileged supervisor,
// whose child the proxy of a supervised session is.
const (
	Daemon  Role = "daemon"
	Proxy   Role = "proxy"
	Janitor Role = "janitor"
	Builder Role = "builder"
	Outer   Role = "bwrap"
	Init    Role = "init"
	Shim    Role = "shim"
	Command Role = "command"
)

// Process is what /proc says of one process.
type Process struct {
	PID, PPID int
	State     string
	Args      []string
}

func (p Process) String() string {
	return fmt.Sprintf("%d (of %d) %s %q", p.PID, p.PPID, p.State, p.Args)
}

// read returns a process, false if there is none.
func read(pid int) (Process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Process{}, false
	}
	text := string(stat)
	rest := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(rest) < 2 {
		return Process{}, false
	}
	p := Process{PID: pid, State: rest[0]}
	p.PPID, _ = strconv.Atoi(rest[1])
	args, _ := os.ReadFile(dir + "/cmdline")
	if len(args) > 0 {
		p.Args = strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	} else {
		p.Args = []string{text[strings.IndexByte(text, '(') : strings.LastIndexByte(text, ')')+1]}
	}
	return p, true
}

// Alive returns a process, unless it has ended.
func Alive(pid int) (Process, bool) {
	p, ok := read(pid)
	return p, ok && p.State != "Z"
}

// children lists the children of a process by the kernel's own list.
func children(pid int) []int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var out []int
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Descendants returns every process below pid.
func Descendants(pid int) []Process {
	var out []Process
	for _, c := range children(pid) {
		if p, ok := read(c); ok {
			out = append(out, p)
		}
		out = append(out, Descendants(c)...)
	}
	return out
}

// Tree is a process and all below it as text.
func Tree(pid int) string {
	var b strings.Builder
	if p, ok := read(pid); ok {
		fmt.Fprintln(&b, p)
	}
	for _, p := range Descendants(pid) {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// Find returns the process of a role below the supervisor, 0 if there is none now.
func Find(supervisor int, r Role) int {
	if r == Daemon || r == Proxy {
		if daemon, proxy := serving(supervisor); daemon != 0 {
			if r == Daemon {
				return daemon
			}
			return proxy
		}
	}
	for _, c := range children(supervisor) {
		p, ok := read(c)
		if !ok || p.State == "Z" {
			continue
		}
		switch {
		case slices.Contains(p.Args, "role:proxy"):
			if r == Proxy {
				return c
			}
		case slices.Contains(p.Args, "role:janitor"):
			if r == Janitor {
				return c
			}
		case slices.Contains(p.Args, "role:netns"):
			if r == Builder {
				return c
			}
		case p.Args[0] == "bwrap":
			if r == Builder || r == Outer {
				return c
			}
			if found := findInside(c, r); found != 0 {
				return found
			}
		}
	}
	return 0
}

func findInside(outer int, r Role) int {
	for _, init := range children(outer) {
		if r == Init {
			return init
		}
		for _, c := range children(init) {
			p, ok := read(c)
			switch {
			case !ok || p.State == "Z" || p.Args[0] == "bwrap":
			case r == Shim, r == Command && !slices.Contains(p.Args, "role:shim"):
				return c
			}
		}
	}
	return 0
}

// Parent returns the parent of a process, 0 if it is gone.
func Parent(pid int) int {
	p, _ := read(pid)
	return p.PPID
}

// Descriptors returns what the open descriptors of a process refer to.
func Descriptors(t testing.TB, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			out[n] = name
		}
	}
	return out
}

// started are the commands that the tests started themselves, which exec.Cmd reaps.
var started = &commands{known: map[int]bool{}}

type commands struct {
	mu    sync.Mutex
	known map[int]bool
}

func (c *commands) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := world.Start(cmd); err != nil {
		return err
	}
	c.known[cmd.Process.Pid] = true
	return nil
}

func (c *commands) forget(cmd *exec.Cmd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, cmd.Process.Pid)
}

// Left returns the processes that sessions have left to this process, their
// reaper, and the proxies that a privileged supervisor has in a session. What has ended is reaped first, as any system's first process would;
// the second result counts it.
func Left() (running []Process, ended int) {
	started.mu.Lock()
	defer started.mu.Unlock()
	supervisors := world.Supervisors()
	for _, pid := range children(os.Getpid()) {
		if supervisors[pid] != nil {
			running = append(running, inSession(pid)...)
			continue
		}
		p, ok := read(pid)
		if !ok || started.known[pid] {
			continue
		}
		if p.State == "Z" {
			var st syscall.WaitStatus
			syscall.Wait4(pid, &st, syscall.WNOHANG, nil)
			ended++
			continue
		}
		running = append(running, p)
		running = append(running, Descendants(pid)...)
	}
	return running, ended
}

// Status returns the fields of /proc/PID/status.
func Status(t testing.TB, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok {
			out[k] = strings.TrimSpace(v)
		}
	}
	return out
}
