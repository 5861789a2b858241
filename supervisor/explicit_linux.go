package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/none"
	"golang.org/x/sys/unix"
)

// capture finds out whether a bare command can have a network of its own. Where it
// can't, what that would keep is an error.
func (s *session) capture(ctx context.Context) error {
	if !s.bare() {
		return nil
	}
	_, _, err := netns.Probe(ctx, s.cfg.Host.Self)
	if err == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !refused(err) {
		return err // of today, perhaps: nothing weaker for that
	}
	if len(s.cfg.Publish) > 0 {
		return &plainError{"--publish", "a port of its own", err}
	}
	if idle := s.cfg.Policy.Sandbox().Idle; idle.Set {
		return &plainError{idle.From.Ref(), "an end to idleness, which its traffic tells of,", err}
	}
	s.explicit = &explicit{}
	s.backend = none.Backend{Plain: true}
	s.cfg.Warnings = append([]string{"ONLY WHAT OBEYS THE PROXY VARIABLES IS CAPTURED: the command has the host's network, since it can have none of its own: " + err.Error()}, s.cfg.Warnings...)
	return nil
}

// refused says whether an error is that this machine lets the caller have no network
// namespace, or no right in one.
func refused(err error) bool {
	var failed *netns.Error
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.Step {
	case netns.StepNamespace:
		return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
	case netns.StepLink:
		return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	}
	return false
}

// plainError is what only a network of its own has.
type plainError struct {
	from, what string
	cause      error
}

func (e *plainError) Error() string {
	return fmt.Sprintf("%s: %s takes a network of the command's own, which can't be had here: %v", e.from, e.what, e.cause)
}

func (e *plainError) Unwrap() error { return e.cause }

var _ pen = (*netns.Building)(nil)

// preparePen makes what becomes the command: the pen's network, or nothing yet.
func (s *session) preparePen(o netns.Options) error {
	in, out, errs := s.term.Files()
	stdio := [3]*os.File{in, out, errs}
	if s.explicit != nil {
		if err := s.explicit.open(); err != nil {
			return err
		}
		s.undo.push(func() { s.explicit.listener.Close() })
		attr := &syscall.SysProcAttr{Setpgid: true}
		if o.Cgroup != nil {
			attr.UseCgroupFD, attr.CgroupFD = true, int(o.Cgroup.Fd())
		}
		s.pen = newPlainPen(stdio, attr, nil)
		return nil
	}
	owner := s.bareOwner(&o)
	built, err := netns.Prepare(s.cfg.Host.Self, stdio, o)
	if err != nil {
		return err
	}
	s.pen, s.net = built, built
	return s.own(owner)
}

// serve has the proxy serve what the command's requests come to.
func (s *session) serve(ctx context.Context) error {
	if s.explicit != nil {
		s.explicit.listener.Close() // the proxy's: when it dies, so does the port
		return s.listen(ctx)
	}
	sockets, err := s.net.Sockets(ctx)
	if err != nil {
		return err
	}
	s.keepDiag(sockets)
	if s.daemon != nil {
		err = s.daemon.network(ctx, sockets, s.pen.Process().Pid)
		sockets.Close() // the proxy gets them when the pen is verified
		if err != nil {
			return s.notBuilt(ctx, err)
		}
		return nil
	}
	err = sockets.Send(s.proxy.sockets)
	// The supervisor keeps none: when the proxy dies, so do the listeners.
	sockets.Close()
	if err != nil {
		return s.proxyFailed(fmt.Errorf("hand the pen's sockets to the proxy: %w", err))
	}
	return s.listen(ctx)
}

// waitEnded waits until a child has ended, and leaves it to be reaped.
func waitEnded(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
}
