package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/container"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// verify waits for the held shim, reads it and its pen back from the kernel and
// compares them with the plan. It returns nil only when they agree and the
// session's start is recorded; the command may then be released.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	ours, filters, err := posture.Self()
	if err != nil {
		return err
	}
	ready, err := s.line.WaitReady(ctx)
	if err != nil {
		return s.notBuilt(ctx, err)
	}
	// The builder's process went on as bwrap: in the namespace that owns the
	// network, and not in the command's.
	outer, err := posture.NamespacesOf(s.pen.Process().Pid)
	if err != nil {
		return err
	}
	_, given := s.given()
	expect := &posture.Expectation{
		UID: s.spec.UID, GID: s.spec.GID, HostUID: s.cfg.Host.UID, HostGID: s.cfg.Host.GID,
		Ours: ours, Net: outer.Net, Owner: outer.User, Filters: filters,
		Control: ready.Socket, Given: given, Stdio: s.stdioIDs,
	}
	seen, err := s.compare(ctx, expect, ready.PID)
	var differs posture.Mismatch
	if errors.As(err, &differs) {
		s.violation(ctx, err)
	}
	if err != nil {
		return err
	}
	s.expect, s.seen = expect, seen
	// The shim's parent is the pen's first process: its end is that of all in it.
	if s.janitor != nil {
		if err := s.janitor.Follow(seen.Parent); err != nil {
			return err
		}
	}
	if s.tool, err = openProcess(ready.PID); err != nil {
		return err
	}
	s.undo.push(s.tool.close)
	if err := s.attribute(seen); err != nil {
		return err
	}
	s.reportCapabilities(ready.Landlock)
	if s.daemon != nil {
		// Once more, with eyes that the caller has no part in.
		if err := s.daemon.verify(ctx, s.tool); err != nil {
			return err
		}
	}
	var denied *proxyctl.DeniedError
	switch err := s.proxy.client.Record(ctx, audit.TypeSessionStart, s.sessionStart()); {
	case errors.As(err, &denied):
		return denied
	case err != nil:
		return s.proxyFailed(err)
	}
	if s.daemon != nil {
		if err := s.proxy.client.Listen(ctx); err != nil {
			return s.proxyFailed(err)
		}
	}
	return nil
}

// compare reads the held child back and holds it against what its tier declares. An
// error that is a Mismatch says what differs.
func (s *session) compare(ctx context.Context, e *posture.Expectation, pid int) (*posture.Observation, error) {
	if s.bare() {
		seen, err := posture.Read(pid)
		if err != nil {
			return nil, err
		}
		if s.explicit != nil {
			return seen, posture.CheckPlain(e, seen)
		}
		return seen, posture.CheckOpen(e, seen)
	}
	e.Mounts = posture.Declared(s.spec)
	seen, err := readSettled(ctx, pid, e.Filters)
	if err != nil {
		return nil, err
	}
	return seen, posture.Check(e, seen)
}

// notBuilt says why a pen that is being built has failed with err: by the word of
// its shim, of its first process that could not execute the sandbox, or by how it
// ended, and by what the container refuses. What the sandbox itself said is on the
// caller's terminal.
func (s *session) notBuilt(ctx context.Context, err error) error {
	if !s.gone(ctx, err) {
		return err
	}
	if _, lerr := s.line.WaitReady(ctx); lerr != nil && !errors.Is(lerr, shim.ErrNoShim) {
		return lerr
	}
	if xerr := s.pen.Executed(ctx); xerr != nil {
		return xerr
	}
	state, werr := s.pen.Wait()
	if werr != nil {
		return err
	}
	err = fmt.Errorf("%w (%v)", err, state)
	// Of what the sandbox does first some is refused in most containers.
	tried, terr := container.Try(ctx, s.cfg.Host.Self)
	if terr != nil {
		return err
	}
	place := container.Read()
	return container.Because(err, &place, tried)
}

// settleTimeout bounds the wait for the pen's first process to be as it stays.
const settleTimeout = 5 * time.Second

// readSettled reads the child back when its parent is ready too. The pen's first
// process goes its own way after it has forked the shim: it drops what it has
// and installs the seccomp filter last (bubblewrap.c, do_init), which on a busy
// machine may be after the shim is ready. Nothing tells when, so it is read
// again, at growing intervals; the command is held meanwhile.
func readSettled(ctx context.Context, pid, filters int) (*posture.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		seen, err := posture.Read(pid)
		if err != nil || seen.Init == nil || seen.Init.Filters > filters {
			return seen, err
		}
		select {
		case <-ctx.Done():
			return seen, nil // the check says what it lacks
		case <-time.After(pause):
		}
	}
}

// violation records why a pen was killed before it ran anything.
func (s *session) violation(ctx context.Context, cause error) {
	ev := &audit.Violation{Kind: "posture", Detail: cause.Error(), Action: "killed"}
	if err := s.proxy.client.Record(ctx, audit.TypeViolation, ev); err != nil {
		s.say.line("%v", err)
	}
}
