package supervisor

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox/procs"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// sessionLeader makes a process the first of a session of its own.
func sessionLeader() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// signal passes a signal on. What a terminal sends to the foreground group (INT, QUIT)
// goes to the command's whole group, which has a session of its own that the terminal
// does not know. A number that may be another's is not signalled.
func (p *plainPen) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.reaped {
		return
	}
	pid := p.cmd.Process.Pid
	if sig == syscall.SIGINT || sig == syscall.SIGQUIT {
		pid = -pid
	}
	unix.Kill(pid, sig) //nolint:errcheck // it may have ended
}

// endRest ends what the command has left, while its number is still its own.
func endRest(pid int) error { return procs.KillBelow(pid) }

// waitEnded waits until a child has ended, and leaves it to be reaped.
func waitEnded(pid int) {
	q, err := unix.Kqueue()
	if err != nil {
		return // then it is known a moment later
	}
	defer unix.Close(q)
	unix.CloseOnExec(q)
	var ended unix.Kevent_t
	unix.SetKevent(&ended, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	ended.Fflags = unix.NOTE_EXIT
	for {
		n, err := unix.Kevent(q, []unix.Kevent_t{ended}, make([]unix.Kevent_t, 1), nil)
		if !errors.Is(err, unix.EINTR) || n > 0 {
			return // ESRCH: it has ended before
		}
	}
}

// watch releases the command and stays with it to its end.
func (s *session) watch(ctx context.Context) (*Result, error) {
	if err := s.line.Release(); err != nil {
		return nil, s.abandon(err)
	}
	stopRenewing := s.renew(ctx)
	defer stopRenewing()
	if err := s.executed(ctx); err != nil {
		return nil, err
	}
	wall, stopped := s.wall()
	defer stopped()
	done, died := ctx.Done(), s.proxy.done()
	s.reason = "exit"
	for {
		select {
		case <-s.pen.Done():
			// A command whose proxy dies may end of it, with whatever code.
			if s.reason == "exit" && over(died) {
				return nil, s.abandon(s.proxy.why())
			}
			stopRenewing()
			return s.finish()
		case sig := <-s.sigs.c:
			s.tool.signal(sig.(syscall.Signal))
		case <-died:
			// Nothing can leave any more; the command must not go on as if it could.
			return nil, s.abandon(s.proxy.why())
		case <-wall:
			defer s.expire(fmt.Sprintf("time limit of %s", s.spec.Limits.Wall)).Stop()
		case v := <-s.proxy.client.Violations():
			s.violation(v)
		case <-done:
			done = nil // once; the pen's end comes next
			s.reason = context.Cause(ctx).Error()
			go s.pen.Close()
		}
	}
}

// expire ends the command at its limit of time, with a moment to tidy up.
func (s *session) expire(reason string) *time.Timer {
	s.reason = reason
	s.say.line("%s: ending the command", reason)
	s.record(audit.TypeLimit, &audit.Limit{Kind: "time", Detail: reason, Action: "ended"})
	s.tool.signal(syscall.SIGTERM)
	return time.AfterFunc(killGrace, func() { s.pen.Close() })
}

// violation does what the policy says. What is to be frozen is ended: processes that
// have left the command's group would go on.
func (s *session) violation(v proxyctl.Violation) {
	reason := "violation: " + v.Kind
	switch s.cfg.Policy.Sandbox().OnViolation.V {
	case policy.Freeze:
		reason += ", and a pen can't be frozen here"
		fallthrough
	case policy.Kill:
		s.reason = reason
		s.say.line("%s: ending the session", escape(reason))
		s.record(audit.TypeControl, &audit.Control{Action: "kill", Reason: reason})
		s.pen.Close()
	}
}

// finish collects how the command ended.
func (s *session) finish() (*Result, error) {
	state, err := s.pen.Wait()
	if err != nil {
		return nil, s.abandon(fmt.Errorf("wait for the pen: %w", err))
	}
	if err := s.tool.left; err != nil {
		s.say.line("WARNING: %v", err)
	}
	s.term.Finish()
	exit := exitOf(state)
	s.compareLinks()
	sum := s.end(exit, signalName(exit))
	if s.lost != nil {
		return nil, s.lost
	}
	return &Result{Session: s.id, ExitCode: exit, Summary: sum}, nil
}
