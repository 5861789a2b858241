package supervisor

import (
	"context"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/posture"
)

// verify waits for the held shim, reads it and its pen back from the kernel and
// compares them with the plan. It returns nil only when they agree and the
// session's start is recorded; the command may then be released.
func (s *session) verify(ctx context.Context, sigs *signals) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	ours, filters, err := posture.Self()
	if err != nil {
		return err
	}
	shim, err := s.line.WaitReady(ctx)
	if err != nil {
		return err
	}
	// The builder's process went on as bwrap: in the namespace that owns the
	// network, and not in the command's.
	outer, err := posture.NamespacesOf(s.pen.Process().Pid)
	if err != nil {
		return err
	}
	expect := &posture.Expectation{
		UID: s.spec.UID, GID: s.spec.GID, HostUID: s.cfg.Host.UID, HostGID: s.cfg.Host.GID,
		Ours: ours, Net: outer.Net, Owner: outer.User, Filters: filters,
		Control: shim.Socket, Stdio: s.stdioIDs, Mounts: posture.Declared(s.spec),
	}
	seen, err := posture.Read(shim.PID)
	if err != nil {
		return err
	}
	if err := posture.Check(expect, seen); err != nil {
		s.violation(ctx, err)
		return err
	}
	// The shim's parent is the pen's first process: its end is that of all in it.
	if s.janitor.first, err = openProcess(seen.Parent); err != nil {
		return err
	}
	if s.tool, err = openProcess(shim.PID); err != nil {
		return err
	}
	s.undo.push(s.tool.close)
	s.reportCapabilities(shim.Landlock)
	if err := s.proxy.client.Record(ctx, audit.TypeSessionStart, s.sessionStart()); err != nil {
		return s.proxyFailed(err)
	}
	return nil
}

// violation records why a pen was killed before it ran anything.
func (s *session) violation(ctx context.Context, cause error) {
	ev := &audit.Violation{Kind: "posture", Detail: cause.Error(), Action: "killed"}
	if err := s.proxy.client.Record(ctx, audit.TypeViolation, ev); err != nil {
		s.say.line("%v", err)
	}
}
