//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/layout"
	"golang.org/x/sys/unix"
)

// signals are those of the caller that are the command's to handle.
type signals struct {
	c chan os.Signal
}

// forwarded lists the signals that are passed on. SIGPIPE, SIGCHLD and SIGURG
// are our own; SIGTSTP and SIGCONT stop and continue the caller's view only.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

// newSignals takes the signals over for good: one that comes while the session is
// put away must not leave half of it. What the caller ignores, as nohup does,
// stays so, and the command inherits it: taken over, it would be the command's or
// not by who is first, this or the fork of the pen's first process.
func newSignals() *signals {
	s := &signals{c: make(chan os.Signal, 16)}
	signal.Notify(s.c, slices.DeleteFunc(forwarded(), signal.Ignored)...)
	return s
}

// executed waits until the shim, which was released, has executed the command.
func (s *session) executed(ctx context.Context) error {
	err := s.line.WaitExec(ctx)
	var not *shim.ExecError
	switch {
	case err == nil:
		s.ran = true
		return nil
	case errors.As(err, &not):
		s.pen.Close()
		s.term.Finish()
		s.reason = "not executed: " + not.Error()
		s.end(not.ExitCode(), "")
		return not
	}
	return s.abandon(err)
}

// wall tells when the command's time is over; nil, which never does, without a limit.
func (s *session) wall() (over <-chan time.Time, stop func()) {
	d := s.spec.Limits.Wall
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// signalName is that of the signal that an exit code stands for, "" if it stands for
// none.
func signalName(exit int) string {
	if exit > 128 && exit < 128+65 {
		return unix.SignalName(syscall.Signal(exit - 128))
	}
	return ""
}

// gone waits a moment for a pen that is being built, and has failed with err, to have
// ended; false: it has not, or its shim has said why.
func (s *session) gone(ctx context.Context, err error) bool {
	var told *shim.ExecError
	if errors.As(err, &told) {
		return false
	}
	select {
	case <-s.pen.Done():
		return true
	case <-time.After(endTime):
	case <-ctx.Done():
	}
	return false
}

// over tells whether c is closed; nil never is.
func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// compareLinks tells of protected paths that are symbolic links, and that the
// command replaced: nothing can be mounted over a link to keep it.
func (s *session) compareLinks() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, l := range s.files.Changed(layout.OS()) {
		detail := fmt.Sprintf("protected link %s, which said %s, was changed by the command", l.Path, l.Text)
		s.say.line("WARNING: %s: look at it before you use it", escape(detail))
		ev := &audit.Violation{Kind: "protected-link", Detail: detail, Action: "reported"}
		if err := s.proxy.client.Record(ctx, audit.TypeViolation, ev); err != nil {
			s.say.line("%v", err)
		}
	}
}
