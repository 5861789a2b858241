package world

import (
	"bytes"
	"fmt"
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
)

// Supervisor is a privileged supervisor of a test's own, in H: with its socket,
// state, policy, control groups and pins apart from every other's.
type Supervisor struct {
	Socket string
	State  string // directory; the audit of user U is in audit/U below it
	Policy string // the administrator's, which may be written at any time
	Config string // the supervisor's settings, before Start
	Name   string // of its control groups and pins

	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
	log  *tail
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
	n int
}

// NewSupervisor prepares a supervisor; Start starts it. It needs root.
func (w *World) NewSupervisor() *Supervisor {
	w.t.Helper()
	s, err := newSupervisor(w.n.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	s.t = w.t
	w.t.Cleanup(func() { s.Stop(); os.RemoveAll(filepath.Dir(s.Socket)) })
	return s
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
	go func() { cmd.Wait(); close(done) }()
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
	s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

// AuditDir is where the sessions of a user are recorded.
func (s *Supervisor) AuditDir(uid int) string {
	return filepath.Join(s.State, "audit", strconv.Itoa(uid))
}

// shared is the supervisor of all tests of a process whose Options ask for one.
func (n *network) supervisor(t testing.TB) *Supervisor {
	t.Helper()
	penstock := Penstock(t)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shared == nil {
		s, err := newSupervisor(n.dir)
		if err == nil {
			err = s.start(penstock)
		}
		if err != nil {
			t.Fatal(err)
		}
		n.shared = s
	}
	return n.shared
}

// Supervisor is the one that Options.Supervised uses.
func (w *World) Supervisor() *Supervisor {
	w.t.Helper()
	return w.n.supervisor(w.t)
}

// supervised adds to a penstock command where its supervisor is.
func (w *World) supervised(argv []string) []string {
	if len(argv) < 2 || filepath.Base(argv[0]) != "penstock" {
		return argv
	}
	flags := []string{"--socket", w.Supervisor().Socket}
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
