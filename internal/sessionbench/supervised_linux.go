package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// caller is the ordinary user who runs supervised sessions: no user of any
// machine, in the one group that every machine has.
const (
	callerID = 61299
	group    = "nogroup"
	groupID  = 65534
)

// supervised measures sessions of an ordinary user under a privileged supervisor,
// beside the same user's without one.
func (b *bench) supervised(runs, idle int) ([]row, error) {
	home, err := os.MkdirTemp("", "sessionbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	s := &bench{self: filepath.Join(home, "penstock"), home: filepath.Join(home, "home"), work: filepath.Join(home, "home", "work")}
	if err := os.MkdirAll(s.work, 0o755); err != nil {
		return nil, err
	}
	// The user need not be able to walk to where the binary was built.
	if out, err := exec.Command("install", "-m", "0755", b.self, s.self).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the binary: %w: %s", err, out)
	}
	for _, d := range []string{s.home, s.work} {
		if err := os.Chown(d, callerID, callerID); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(home, 0o755); err != nil {
		return nil, err
	}
	socket := filepath.Join(home, "supervise.sock")
	daemon, err := s.daemon(home, socket)
	if err != nil {
		return nil, err
	}
	defer func() {
		daemon.Process.Signal(syscall.SIGTERM)
		daemon.Wait()
	}()
	s.caller = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: callerID, Gid: callerID, Groups: []uint32{groupID}}}
	rootless := *s
	rootless.flags = []string{"--rootless"}
	s.flags = []string{"--supervised", "--socket", socket}
	var ours, ref []float64
	for i := range runs + 2 {
		x, err := wall(s.penstock("true"))
		if err != nil {
			return nil, err
		}
		y, err := wall(rootless.penstock("true"))
		if err != nil {
			return nil, err
		}
		if i >= 2 {
			ours, ref = append(ours, x), append(ref, y)
		}
	}
	a, r := median(ours), median(ref)
	rows := []row{{"run -- true under the supervisor, median wall", a, r, a / r, "not slower than rootless", "ms", a/r <= 1}}
	var pss float64
	_, err = lastUp(idle, func() *exec.Cmd { return s.penstock("sh", "-c", "echo up; exec sleep 20") }, func(cmds []*exec.Cmd) error {
		// The daemon and its proxies are everybody's.
		roots := map[int]bool{daemon.Process.Pid: true}
		for _, c := range cmds {
			roots[c.Process.Pid] = true
		}
		kb, err := pssOf(roots)
		pss = kb / 1024 / float64(idle)
		return err
	})
	if err != nil {
		return nil, err
	}
	return append(rows, row{fmt.Sprintf("PSS per supervised session, %d at once, daemon included", idle), pss, 0, 0, "under 25 MB", "MB", pss < 25}), nil
}

// daemon starts a supervisor of the benchmark's own and waits until it answers.
func (b *bench) daemon(dir, socket string) (*exec.Cmd, error) {
	settings := filepath.Join(dir, "supervise.yaml")
	if err := os.WriteFile(settings, []byte("quota: {sessions: 1000, connections: 4000, rate: 10000, pids: none}\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(b.self, "supervise", "--socket", socket, "--group", group, "--state", filepath.Join(dir, "state"),
		"--policy", filepath.Join(dir, "none.yaml"), "--config", settings, "--name", fmt.Sprintf("penstock-bench-%d", os.Getpid()))
	var log strings.Builder
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unixpacket", socket)
		if err == nil {
			c.Close()
			return cmd, nil
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	return nil, errors.New("the supervisor does not answer: " + log.String())
}
