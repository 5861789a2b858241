package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
)

// TestQuotas: what a user may not have more of is refused with what to do, others
// are not concerned, and it is given back.
func TestQuotas(t *testing.T) {
	s := serve(t, func(c *Config) { c.Settings.Quota.Sessions = 1 })
	first := s.call(t, ann, "until", strconv.Itoa(stepOpen))
	first.expect("at")
	if got := s.call(t, ann, "until", strconv.Itoa(stepOpen)).expect("error:"); !strings.Contains(got, "as many sessions as it may have") {
		t.Error(got)
	}
	other := s.call(t, bob, "until", strconv.Itoa(stepOpen))
	other.expect("at")
	other.next()
	other.end()
	first.next()
	first.end()
	s.idle(t)
	again := s.call(t, ann, "until", strconv.Itoa(stepOpen))
	again.expect("at")
	again.next()
	again.end()
}

func TestAuditQuota(t *testing.T) {
	s := serve(t, func(c *Config) { c.Settings.Quota.AuditBytes = 4096 })
	if _, err := s.Daemon.state.of(ann); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(s.cfg.State, "audit", fmt.Sprint(ann), "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.call(t, ann, "until", strconv.Itoa(stepOpen)).expect("error:"); !strings.Contains(got, "as many as it may have") {
		t.Error(got)
	}
	s.idle(t)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c := s.call(t, ann, "whole")
	c.expect("serving")
	c.next()
	c.end()
}

// TestRecordFull: a session whose record may grow no more is refused everything,
// in its own words, and the daemon goes on.
func TestRecordFull(t *testing.T) {
	dir, name := place(t)
	r := run(t, dir, name) // with 64 KiB
	defer r.term(t)
	c := r.call(t, ann, "fill")
	if got := c.expect("full after"); got == "0" {
		t.Error("nothing was recorded")
	}
	c.end()
	fi, err := os.Stat(filepath.Join(dir, "state", "audit", fmt.Sprint(ann)))
	if err != nil || fi.Size() == 0 {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "state", "audit", fmt.Sprint(ann), "2*.jsonl"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	if fi, err := os.Stat(files[0]); err != nil || fi.Size() > 64<<10 || fi.Size() < 32<<10 {
		t.Errorf("%v, %v", fi, err)
	}
	b := r.call(t, bob, "whole")
	b.expect("serving")
	b.next()
	b.end()
}

// fillScenario records until there is no room.
func fillScenario(u *pretender) error {
	if err := u.to(stepServe); err != nil {
		return err
	}
	n := 0
	err := within(func(ctx context.Context) error {
		for n < 10_000 {
			if err := u.proxy.Record(ctx, audit.TypeViolation, &audit.Violation{Kind: "test", Detail: strings.Repeat("x", 1000)}); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err == nil {
		return errors.New("it is never full")
	}
	fmt.Println("full after", n)
	return nil
}

// insideScenario calls from a user namespace of its own, as a tool in a pen does.
func insideScenario(u *pretender) error {
	cmd := exec.Command("/proc/self/exe", "role:test-caller", "until", u.socket, strconv.Itoa(stepOpen))
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd.Run()
}

// TestCallersOutOfPens: a tool in a pen gets no other pen, whether its user
// namespace or its control group gives it away.
func TestCallersOutOfPens(t *testing.T) {
	s := serve(t, nil)
	if got := s.call(t, ann, "inside").expect("error:"); !strings.Contains(got, "user namespace of its own") {
		t.Error(got)
	}
	c := s.call(t, ann, "until", strconv.Itoa(stepJoin))
	c.expect("at")
	var group interface{ Add(int) error }
	s.Daemon.mu.Lock()
	for _, x := range s.sessions {
		group = x.group
	}
	s.Daemon.mu.Unlock()
	late := s.call(t, ann, "late")
	late.expect("ready")
	if err := group.Add(late.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	late.next()
	if got := late.expect("error:"); !strings.Contains(got, "in a session already") {
		t.Error(got)
	}
	late.cmd.Wait()
	c.next()
	c.end()
}

// TestSlowCaller: who says nothing is not waited for longer than a session's
// set-up may take.
func TestSlowCaller(t *testing.T) {
	s := serve(t, func(c *Config) { c.Settings.SetupTime = time.Second })
	c := s.call(t, ann, "until", strconv.Itoa(stepOpen))
	c.expect("at")
	s.idle(t)
	c.next()
	c.cmd.Wait()
	// One that is built in time has all the time there is.
	w := s.call(t, ann, "whole")
	w.expect("serving")
	unix.Poll(nil, 1500)
	w.next()
	w.end()
}

// TestUntrustedFloor: an administrator's policy that somebody else could have
// written means no sessions, not sessions without it.
func TestUntrustedFloor(t *testing.T) {
	s := serve(t, nil)
	if err := os.WriteFile(s.cfg.Policy, []byte("version: 1\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.cfg.Policy, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := s.call(t, ann, "until", strconv.Itoa(stepOpen)).expect("error:"); !strings.Contains(got, "others may write to it") {
		t.Error(got)
	}
	s.idle(t)
	if err := os.Chmod(s.cfg.Policy, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := s.dial(t).Status(context.Background())
	if err != nil || len(d.Floor) != 64 {
		t.Errorf("%+v, %v", d, err)
	}
}
