package supervisor

import (
	"cmp"
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/posture"
)

// defaultOpenFiles is a generous bound where the policy has none; the host's
// hard limit is often a million, which lets one tool exhaust the machine's.
const defaultOpenFiles = 65536

// limits puts the policy's resource limits into force, as far as they belong to
// the pen's start: its control group and its resource limits. A limit that was
// asked for and that nothing enforces here is an error.
func (s *session) limits(ctx context.Context) error {
	p := s.cfg.Policy.Sandbox()
	s.bounds = sandbox.Limits{Memory: p.Memory.V, CPUs: p.CPUs.V, PIDs: p.PIDs.V, OpenFiles: p.OpenFiles.V, Wall: p.Timeout.V, Idle: p.Idle.V,
		ReadRate: p.ReadRate.V, WriteRate: p.WriteRate.V}
	l := s.bounds
	if l.OpenFiles == 0 {
		l.OpenFiles = defaultOpenFiles
	}
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &hard); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if hard.Max < uint64(l.OpenFiles) {
		l.OpenFiles = int64(hard.Max)
	}
	if s.daemon != nil && !s.cfg.DryRun {
		if err := s.open(ctx, l); err != nil {
			return err
		}
	} else if err := s.ownGroup(l); err != nil {
		return err
	}
	if b, ok := s.backend.(interface {
		Limit(sandbox.Capability) sandbox.Capability
	}); ok {
		for i := range s.caps {
			s.caps[i] = b.Limit(s.caps[i])
		}
	}
	from := map[string]policy.Source{"memory": p.Memory.From, "pids": p.PIDs.From, "cpus": p.CPUs.From, "io": cmp.Or(p.ReadRate.From, p.WriteRate.From)}
	for _, c := range s.caps {
		switch c.State {
		case sandbox.Unavailable:
			return &limitError{c, from[c.Control].Ref()}
		case sandbox.Partial:
			s.cfg.Warnings = append(s.cfg.Warnings, fmt.Sprintf("%s: the limit of %s is only partly enforced, by %s: %s", from[c.Control].Ref(), c.Control, c.By, c.Detail))
		}
	}
	return nil
}

// ownGroup puts limits into force with the caller's rights.
func (s *session) ownGroup(l sandbox.Limits) error {
	group, rlimits, caps, err := cgroup.Make(l)
	if err != nil {
		return err
	}
	if group != nil {
		s.group = group
		s.undo.push(func() {
			if err := group.Close(); err != nil {
				s.say.line("%v", err)
			}
		})
	}
	for _, r := range rlimits {
		s.rlimits = append(s.rlimits, shim.Rlimit{Resource: r.Resource, Value: r.Value})
	}
	s.caps = caps
	return nil
}

// reportCapabilities says what is enforced, by what: what the kernel said of the pen
// when it was compared, and what it can't say.
func (s *session) reportCapabilities(landlock int) {
	verified := posture.Controls(nil)
	if s.bare() {
		verified = posture.OpenControls()
		if s.explicit != nil {
			verified = posture.PlainControls()
		}
	}
	all := append(verified, s.backend.Capabilities(landlock)...)
	all = append(all, s.worktreeCapability()...)
	all = append(all, s.copyCapability()...)
	s.caps = append(all, s.caps...)
}
