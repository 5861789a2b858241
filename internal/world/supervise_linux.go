package world

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Supervisor is a privileged supervisor of a test's own, in H: with its socket,
// state, policy, control groups and pins apart from every other's.
type Supervisor struct {
	Socket string
	State  string // directory; the audit of user U is in audit/U below it
	Policy string // the administrator's, which may be written at any time
	Config string // the supervisor's settings, before Start
	Name   string // of its control groups and pins

	t     testing.TB
	first sync.Once
	cmd   *exec.Cmd
	done  chan struct{}
	log   *tail
}

// tail keeps what a process printed.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var supervisors struct {
	sync.Mutex
	n       int
	running map[int]*Supervisor
}

// NewSupervisor prepares a supervisor; Start starts it. It needs root.
func (w *World) NewSupervisor() *Supervisor {
	w.t.Helper()
	s, err := newSupervisor(w.n.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	s.t = w.t
	w.t.Cleanup(func() { s.Stop(); s.putAway(); os.RemoveAll(filepath.Dir(s.Socket)) })
	return s
}

// begin starts it, unless it was started before: one that a test has ended stays so.
func (s *Supervisor) begin() {
	s.t.Helper()
	s.first.Do(func() {
		if s.cmd == nil {
			s.Start()
		}
	})
}

func newSupervisor(dir string) (*Supervisor, error) {
	supervisors.Lock()
	supervisors.n++
	n := supervisors.n
	supervisors.Unlock()
	dir = filepath.Join(dir, "supervisor"+strconv.Itoa(n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return &Supervisor{
		Socket: filepath.Join(dir, "supervise.sock"), State: filepath.Join(dir, "state"),
		Policy: filepath.Join(dir, "policy.yaml"), Config: filepath.Join(dir, "supervise.yaml"),
		Name: fmt.Sprintf("penstock-test-%d-%d", os.Getpid(), n), log: &tail{},
	}, nil
}

// Start starts it and returns when it answers.
func (s *Supervisor) Start() {
	s.t.Helper()
	if err := s.start(Penstock(s.t)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Supervisor) start(penstock string) error {
	// As a service manager hears of it (sd_notify(3)).
	at := filepath.Join(filepath.Dir(s.Socket), "notify.sock")
	os.Remove(at)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()
	cmd := exec.Command(penstock, "supervise", "--socket", s.Socket, "--state", s.State, "--policy", s.Policy, "--config", s.Config,
		"--group", "penworld", "--name", s.Name)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET=" + at}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := Start(cmd); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	supervisors.Lock()
	if supervisors.running == nil {
		supervisors.running = map[int]*Supervisor{}
	}
	supervisors.running[cmd.Process.Pid] = s
	supervisors.Unlock()
	go func() {
		cmd.Wait()
		supervisors.Lock()
		delete(supervisors.running, cmd.Process.Pid)
		supervisors.Unlock()
		close(done)
	}()
	ready := make(chan error, 1)
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := notify.Read(b)
			if err != nil || strings.Contains(string(b[:n]), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-done:
		return fmt.Errorf("the supervisor ended: %s", s.log)
	}
}

// PID is the daemon's process.
func (s *Supervisor) PID() int { return s.cmd.Process.Pid }

// Done is closed when the daemon has ended.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Log is what it has printed.
func (s *Supervisor) Log() string { return s.log.String() }

// Stop ends it as its unit would. It may be called twice.
func (s *Supervisor) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Process.Signal(syscall.SIGCONT) // a test that failed may have stopped it
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		if s.t != nil {
			s.t.Errorf("the supervisor does not end:\n%s", s.log)
		}
		s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
}

// Kill ends it by SIGKILL and waits for its end.
func (s *Supervisor) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

// AuditDir is where the sessions of a user are recorded.
func (s *Supervisor) AuditDir(uid int) string {
	return filepath.Join(s.State, "audit", strconv.Itoa(uid))
}

// Supervisor is the one that the home's user runs penstock under: his alone, so
// that its records, control groups and processes are his sessions'. It is started
// by the first command that needs it; until then its files may be changed.
func (h *Home) Supervisor() *Supervisor { return h.supervisor }

// Share lets the home's user run penstock under another home's supervisor.
func (h *Home) Share(other *Home) { h.supervisor = other.supervisor }

// UID is the user whose home it is.
func (h *Home) UID() int { return h.uid }

// Supervisors are those that run now, by process id.
func Supervisors() map[int]*Supervisor {
	supervisors.Lock()
	defer supervisors.Unlock()
	return maps.Clone(supervisors.running)
}

// AuditDisk is a file system of its own for the audit of a home's user.
type AuditDisk struct {
	Dir   string   // where the sessions are recorded
	Flags []string // for penstock run and penstock audit

	t  testing.TB
	at string
}

// NewAuditDisk makes one of a size (as for tmpfs), before the home's supervisor
// is started: what is recorded under one is on the supervisor's disk.
func (w *World) NewAuditDisk(h *Home, size string) *AuditDisk {
	w.t.Helper()
	d := &AuditDisk{t: w.t, at: filepath.Join(h.Path, "disk")}
	d.Dir, d.Flags = d.at, []string{"--audit-dir", d.at}
	uid := h.uid
	if s := h.supervisor; s != nil {
		if s.cmd != nil {
			w.t.Fatal("world: the supervisor has its disk already")
		}
		d.at, d.Dir, d.Flags, uid = s.State, s.AuditDir(h.uid), nil, 0
	}
	if err := os.Mkdir(d.at, 0o700); err != nil {
		w.t.Fatal(err)
	}
	options := fmt.Sprintf("size=%s,mode=0700", size)
	if os.Getuid() == 0 {
		options += fmt.Sprintf(",uid=%[1]d,gid=%[1]d", uid)
	}
	if err := unix.Mount("audit", d.at, "tmpfs", 0, options); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Unmount(d.at, unix.MNT_DETACH) })
	return d
}

// Remount changes the disk: "size=4m".
func (d *AuditDisk) Remount(options string) {
	d.t.Helper()
	if err := unix.Mount("", d.at, "", unix.MS_REMOUNT, options); err != nil {
		d.t.Fatal(err)
	}
}

// Fill leaves no byte of it.
func (d *AuditDisk) Fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.at, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

// supervised adds to a penstock command where its supervisor is.
func (w *World) supervised(h *Home, argv []string) []string {
	w.t.Helper()
	if len(argv) < 2 || filepath.Base(argv[0]) != "penstock" || argv[1] == "supervise" {
		return argv
	}
	if h.supervisor == nil {
		w.t.Fatal("world: the home is no supervised user's")
	}
	h.supervisor.begin()
	flags := []string{"--socket", h.supervisor.Socket}
	switch argv[1] {
	case "run":
		flags = append(flags, "--supervised")
	case "ps", "kill", "top", "logs":
	case "audit":
		for _, a := range argv {
			if strings.HasPrefix(a, "--audit-dir") {
				return argv
			}
		}
		if len(argv) > 2 {
			return append(append([]string{argv[0], argv[1], argv[2]}, flags...), argv[3:]...)
		}
		return argv
	default:
		return argv
	}
	return append(append([]string{argv[0], argv[1]}, flags...), argv[2:]...)
}
