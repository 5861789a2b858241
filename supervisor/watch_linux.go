package supervisor

import (
	"context"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is the command's first process, held by a pidfd so that a signal can
// never reach another that took over its number.
type process struct {
	pid   int
	pidfd int
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pen's first process: %w", err)
	}
	return &process{pid: pid, pidfd: fd}, nil
}

func (p *process) close() { unix.Close(p.pidfd) }

// pidfdSignalProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP of Linux 6.9.
const pidfdSignalProcessGroup = 1 << 2

// signal passes a signal on. What a terminal sends to the foreground group
// (INT, QUIT) goes to the command's whole group, because the command has a
// session of its own that the terminal does not know.
func (p *process) signal(sig syscall.Signal) {
	if sig == syscall.SIGINT || sig == syscall.SIGQUIT {
		if unix.PidfdSendSignal(p.pidfd, unix.Signal(sig), nil, pidfdSignalProcessGroup) == nil {
			return
		}
	}
	unix.PidfdSendSignal(p.pidfd, unix.Signal(sig), nil, 0) //nolint:errcheck // it may have ended
}

// watch releases the command and stays with it to its end.
func (s *session) watch(ctx context.Context, sigs *signals) (*Result, error) {
	if err := s.line.Release(); err != nil {
		return nil, s.abandon(err)
	}
	s.monitor.start()
	defer s.monitor.stop()
	stopRenewing := s.renew(ctx)
	defer stopRenewing()
	if err := s.executed(ctx); err != nil {
		return nil, err
	}
	s.further.begin()
	wall, stopped := s.wall()
	defer stopped()
	done, gone, died := ctx.Done(), s.daemon.gone(), s.proxy.done()
	s.reason = "exit"
	for {
		select {
		case <-s.pen.Done():
			// A command whose proxy dies may end of it, with whatever code.
			if s.reason == "exit" && over(died) && !s.daemon.ending() {
				return nil, s.abandon(s.proxy.why())
			}
			stopRenewing()
			return s.finish()
		case sig := <-sigs.c:
			s.tool.signal(sig.(syscall.Signal))
		case <-gone:
			gone = nil
			if s.daemon.client.Failed() {
				return nil, s.abandon(s.daemon.client.Why())
			}
			// As by penstock kill without a daemon: the command was killed.
			s.hear()
			go s.pen.Close()
		case <-died:
			if s.daemon.ending() {
				died = nil // the daemon's doing: it says why
				continue
			}
			// Nothing can leave any more; the command must not go on as if it could.
			return nil, s.abandon(s.proxy.why())
		case <-wall:
			defer s.monitor.expire("time", fmt.Sprintf("time limit of %s", s.spec.Limits.Wall)).Stop()
		case now := <-s.monitor.look():
			if s.monitor.idled(now) {
				s.monitor.stop()
				defer s.monitor.expire("idle", fmt.Sprintf("idle for %s", s.monitor.idle.Limit)).Stop()
			}
		case <-s.monitor.full:
			s.monitor.limits(false)
		case <-s.monitor.next:
			s.monitor.next = nil
			s.monitor.limits(false)
		case v := <-s.proxy.client.Violations():
			s.monitor.violation(v)
		case <-done:
			done = nil // once; the pen's end comes next
			s.reason = context.Cause(ctx).Error()
			go s.pen.Close()
		}
	}
}

// finish collects how the command ended.
func (s *session) finish() (*Result, error) {
	state, err := s.pen.Wait()
	if err != nil {
		return nil, s.abandon(fmt.Errorf("wait for the pen: %w", err))
	}
	s.term.Finish()
	exit := exitOf(state)
	s.monitor.limits(true)
	s.compareLinks()
	away := make(chan struct{})
	go func() { s.putAway(); close(away) }()
	sum := s.end(exit, signalName(exit))
	<-away
	// The daemon may have ended the session before this process heard why: the command
	// was killed, or ended of what had ended, with whatever code.
	if s.daemon != nil && s.daemon.failed != nil {
		return nil, s.daemon.failed
	}
	s.hear()
	if s.lost != nil {
		return nil, s.lost
	}
	return &Result{Session: s.id, ExitCode: exit, Summary: sum}, nil
}

// hear shows, once, why the daemon has ended the session, if it has.
func (s *session) hear() {
	if s.daemon == nil || s.daemon.heard {
		return
	}
	if why := s.daemon.client.Ending(); why != "" {
		s.daemon.heard = true
		s.reason = why
		s.say.line("%s", escape(why))
	}
}
