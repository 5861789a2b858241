package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// scenarios are what a caller's process can play.
func scenarios() map[string]func(*pretender) error {
	return map[string]func(*pretender) error{
		// A whole session, with a stop before its end.
		"whole": func(u *pretender) error {
			if err := u.to(stepServe); err != nil {
				return err
			}
			u.say("serving %s", u.opened.Session)
			if err := within(u.end); err != nil {
				return err
			}
			b := make([]byte, 64<<10)
			n, err := u.audit.ReadAt(b, 0)
			if n == 0 {
				return err
			}
			if _, err := u.audit.Write(b[:1]); err == nil {
				return fmt.Errorf("the audit's descriptor can be written")
			}
			again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", u.audit.Fd()), os.O_RDWR, 0)
			if err == nil {
				again.Close()
				return fmt.Errorf("the audit can be opened for writing")
			}
			return nil
		},
		// Everything up to a step; the process ends when it is told.
		"until": func(u *pretender) error {
			n := 0
			fmt.Sscan(u.args[0], &n)
			u.args = u.args[1:]
			if err := u.to(n); err != nil {
				return err
			}
			id := "-"
			if u.opened != nil {
				id = u.opened.Session
			}
			u.say("at %d %s", n, id)
			return nil
		},
		// Serves until the daemon ends the session.
		"ended": func(u *pretender) error {
			if err := u.to(stepServe); err != nil {
				return err
			}
			fmt.Println("serving", u.opened.Session)
			<-u.client.Done()
			fmt.Println("ended:", u.client.Why())
			<-u.pen.Done() // killed with the session
			fmt.Println("gone")
			return nil
		},
		"list": func(u *pretender) error {
			return within(func(ctx context.Context) error {
				c, err := daemonctl.Dial(ctx, u.socket)
				if err != nil {
					return err
				}
				defer c.Close()
				list, err := c.List(ctx)
				for _, s := range list {
					fmt.Println(s.Session)
				}
				return err
			})
		},
		"kill": func(u *pretender) error {
			return within(func(ctx context.Context) error {
				c, err := daemonctl.Dial(ctx, u.socket)
				if err != nil {
					return err
				}
				defer c.Close()
				id, err := c.Kill(ctx, u.args[0])
				fmt.Println(id)
				return err
			})
		},
		"audit":   auditScenario,
		"against": againstScenario,
		"floor":   floorScenario,
		"hostile": hostileScenario,
		"linger":  lingerScenario,
		"fill":    fillScenario,
		"inside":  insideScenario,
		"late": func(u *pretender) error {
			u.say("ready")
			return within(u.open)
		},
		"flood":  floodScenario,
		"kept":   keptScenario,
		"freeze": freezeScenario,
		"nag":    nagScenario,
		"paths":  pathsScenario,
	}
}

// auditScenario reads the own audit and tries to change it and to get out of it.
func auditScenario(u *pretender) error {
	return within(func(ctx context.Context) error {
		c, err := daemonctl.Dial(ctx, u.socket)
		if err != nil {
			return err
		}
		defer c.Close()
		dir, err := c.Audit(ctx)
		if err != nil {
			return err
		}
		defer dir.Close()
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return err
		}
		fd := int(dir.Fd())
		for _, n := range names {
			f, err := unix.Openat(fd, n, unix.O_RDONLY, 0)
			if err != nil {
				return fmt.Errorf("%s can't be read: %w", n, err)
			}
			unix.Close(f)
			if _, err = unix.Openat(fd, n, unix.O_RDWR, 0); err == nil {
				return fmt.Errorf("%s can be written", n)
			}
			if unix.Unlinkat(fd, n, 0) == nil {
				return fmt.Errorf("%s can be removed", n)
			}
		}
		if unix.Mkdirat(fd, "x", 0o700) == nil || unix.Fchmod(fd, 0o777) == nil {
			return fmt.Errorf("the directory can be changed")
		}
		for _, other := range append(u.args, "..", "../..", "../../lock") {
			if f, err := unix.Openat(fd, other, unix.O_RDONLY|unix.O_PATH, 0); err == nil {
				err = unix.Faccessat(f, ".", unix.R_OK, 0)
				unix.Close(f)
				if err == nil {
					return fmt.Errorf("%s is within reach", other)
				}
			}
		}
		fmt.Println(strings.Join(names, " "))
		return nil
	})
}

// records reads a session's file as root.
func (s *service) records(t testing.TB, uid int, session string) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.cfg.State, "audit", fmt.Sprint(uid), session+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range bytes.Lines(b) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// sealed verifies a user's audit.
func (s *service) sealed(t testing.TB, uid int) *audit.Report {
	t.Helper()
	st, err := audit.OpenExisting(filepath.Join(s.cfg.State, "audit", fmt.Sprint(uid)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := st.Verify(audit.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWholeSession(t *testing.T) {
	s := serve(t, nil)
	c := s.call(t, ann, "whole")
	id := c.expect("serving")
	ctx := context.Background()
	list, err := s.dial(t).List(ctx)
	if err != nil || len(list) != 1 || list[0].Session != id || list[0].UID != ann || list[0].PID != c.cmd.Process.Pid {
		t.Errorf("%+v, %v", list, err)
	}
	if list[0].PIDs == 0 {
		t.Error("no process is in the session's group")
	}
	c.next()
	c.end()
	s.idle(t)
	got := s.records(t, ann, id)
	if len(got) != 2 || got[0]["type"] != "session_start" || got[0]["uid"] != float64(ann) || got[1]["type"] != "session_end" || got[1]["exit_code"] != float64(3) {
		t.Errorf("%v", got)
	}
	if r := s.sealed(t, ann); !r.Whole() {
		t.Errorf("%+v", r)
	}
}

// TestLeavingAtEachStep: whenever the caller goes, the pen is dead, the record
// closed and nothing left, which serve checks.
func TestLeavingAtEachStep(t *testing.T) {
	s := serve(t, nil)
	for n := stepOpen; n < stepEnd; n++ {
		c := s.call(t, ann, "until", fmt.Sprint(n))
		id := strings.Fields(c.expect("at"))[1]
		var pens []int
		if n >= stepBuild {
			pens = processesOf(ann, ann+1)
		}
		if n%2 == 0 {
			c.cmd.Process.Kill()
			c.cmd.Wait()
		} else {
			c.next()
			c.end()
		}
		s.idle(t)
		if n >= stepJoin {
			for _, pid := range pens {
				if err := unix.Kill(pid, 0); err == nil && !dead(pid) {
					t.Errorf("after step %d process %d lives", n, pid)
				}
			}
		}
		if n < stepConfigure {
			// Its proxy had nothing to write with yet.
			if r := s.sealed(t, ann); !r.Whole() {
				t.Errorf("step %d: %+v", n, r)
			}
			continue
		}
		got := s.records(t, ann, id)
		if last := got[len(got)-1]; last["type"] != "session_end" || last["reason"] != "the caller is gone" {
			t.Errorf("step %d: %v", n, got)
		}
		if r := s.sealed(t, ann); !r.Whole() {
			t.Errorf("step %d: %+v", n, r)
		}
	}
}

// dead tells whether a process is one whose end only has to be noticed.
func dead(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(b, []byte(") Z ")) || bytes.Contains(b, []byte(") X "))
}

// TestOthersSessions: a user neither sees nor ends another's session, and can't
// tell one that is there from one that isn't; root does both.
func TestOthersSessions(t *testing.T) {
	s := serve(t, nil)
	a := s.call(t, ann, "ended")
	id := a.expect("serving")
	b := s.call(t, bob, "list")
	if got := b.line(); got != "" {
		t.Errorf("bob sees %q", got)
	}
	b.end()
	b = s.call(t, bob, "kill", id)
	b.line()
	there := b.line()
	b = s.call(t, bob, "kill", "20200101-000000-00000")
	b.line()
	if gone := b.line(); !strings.Contains(there, "no running session") || strings.ReplaceAll(there, id, "20200101-000000-00000") != gone {
		t.Errorf("%q for one that is there, %q for one that is not", there, gone)
	}
	b = s.call(t, bob, "audit", "../"+fmt.Sprint(ann), "../"+fmt.Sprint(ann)+"/"+id+".jsonl")
	if got := b.line(); got != "" {
		t.Errorf("bob's audit has %q", got)
	}
	b.end()
	own := s.call(t, ann, "list")
	own.expect(id)
	own.end()
	own = s.call(t, ann, "audit")
	if got := own.line(); !strings.Contains(got, id+".jsonl") {
		t.Errorf("ann's audit has %q", got)
	}
	own.end()
	if got, err := s.dial(t).Kill(context.Background(), id[:12]); err != nil || got != id {
		t.Errorf("root's kill: %q, %v", got, err)
	}
	a.expect("ended: the supervisor ended the session: killed by root")
	a.expect("gone")
	got := s.records(t, ann, id)
	if last := got[len(got)-1]; last["type"] != "session_end" || last["reason"] != "killed by root" {
		t.Errorf("%v", last)
	}
	if r := s.sealed(t, ann); !r.Whole() {
		t.Errorf("%+v", r)
	}
}

// TestStop: a daemon that is told to end takes its sessions with it, with records
// that are closed; the next one goes on with the same state.
func TestStop(t *testing.T) {
	s := serve(t, nil)
	a := s.call(t, ann, "ended")
	id := a.expect("serving")
	s.stop()
	a.expect("ended: the supervisor ended the session: the supervisor is stopping")
	a.expect("gone")
	got := s.records(t, ann, id)
	if last := got[len(got)-1]; last["type"] != "session_end" || last["reason"] != "the supervisor is stopping" {
		t.Errorf("%v", last)
	}
	if r := s.sealed(t, ann); !r.Whole() {
		t.Errorf("%+v", r)
	}
	again, err := New(Config{State: s.cfg.State, Policy: s.cfg.Policy, Settings: s.cfg.Settings})
	if err != nil {
		t.Fatal(err)
	}
	again.close("")
}
