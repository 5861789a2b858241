package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/profile"
	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/darwin"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// missingError is something that was asked for and is not to be had here.
type missingError struct{ from, what, fix string }

func (e *missingError) Error() string { return e.from + ": " + e.what + " can't be had on macOS" }

// Hint says what to do.
func (e *missingError) Hint() string { return e.fix }

// unsupported refuses what a session here could not keep.
func (s *session) unsupported() error {
	c, p := s.cfg, s.cfg.Policy.Sandbox()
	if _, ok := s.backend.(*darwin.Backend); !ok {
		// Whoever asked for it is told why it is not there, if that is why.
		if err := s.backend.Prepare(&sandbox.Spec{}); err != nil {
			return err
		}
		return &missingError{"--sandbox", "tier " + s.backend.Name(), "leave it out, or use Linux"}
	}
	switch {
	case c.Host.UID == 0:
		// The proxy would be root's, too: there is nobody to become who can read the binary
		// wherever it is.
		return errors.New("a pen can't be root's on macOS: start penstock as an ordinary user")
	case c.Supervised:
		return &missingError{"--supervised", "the privileged supervisor", "leave it out"}
	case c.Worktree:
		return &missingError{"--worktree", "a worktree of the session's own", "leave it out, and use git worktree by yourself"}
	case c.Copy:
		return &missingError{"--copy", "a copy of the work directory", "leave it out"}
	case len(c.Publish) > 0:
		return &missingError{"--publish", "a port of the pen's own", "leave it out: nothing in a pen may listen here"}
	case p.Idle.Set:
		return &missingError{p.Idle.From.Ref(), "an end to idleness", "set timeout instead"}
	}
	for _, h := range c.Policy.Hooks() {
		if _, ok := h.Asks.(*policy.Program); ok {
			return &missingError{h.From.Ref(), "hook " + h.Name + ", which is a program,", "make it a webhook or a module"}
		}
	}
	if c.Policy.Default() == hooks.Ask || slices.ContainsFunc(c.Policy.Rules(), func(r *policy.Rule) bool { return r.Ask }) {
		c.Hints = append(c.Hints, "nobody can be asked on macOS: what would be, is denied")
	}
	return nil
}

// defaultOpenFiles is a generous bound where the policy has none.
const defaultOpenFiles = 65536

// limits puts what a process can be limited by into the orders. A limit that was asked
// for and that nothing enforces here is an error.
func (s *session) limits() error {
	p := s.cfg.Policy.Sandbox()
	s.bounds = sandbox.Limits{OpenFiles: p.OpenFiles.V, Wall: p.Timeout.V}
	for _, l := range []struct {
		control string
		set     bool
		from    policy.Source
	}{
		{"memory", p.Memory.V != 0, p.Memory.From}, {"cpus", p.CPUs.V != 0, p.CPUs.From}, {"pids", p.PIDs.V != 0, p.PIDs.From},
		{"io", p.ReadRate.V != 0 || p.WriteRate.V != 0, cmp.Or(p.ReadRate.From, p.WriteRate.From)},
	} {
		if l.set {
			return &limitError{sandbox.Capability{Control: l.control, Detail: "macOS has no control groups", Fix: "leave the limit out, or use Linux"}, l.from.Ref()}
		}
	}
	most := uint64(cmp.Or(s.bounds.OpenFiles, defaultOpenFiles))
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	most = min(most, now.Max)
	if n, err := unix.SysctlUint32("kern.maxfilesperproc"); err == nil {
		most = min(most, uint64(n)) // more is refused, whatever the limit says
	}
	s.rlimits = append(s.rlimits, shim.Rlimit{Resource: unix.RLIMIT_NOFILE, Value: most}, shim.Rlimit{Resource: unix.RLIMIT_CORE})
	s.caps = append(s.caps, sandbox.Capability{Control: "open-files", State: sandbox.Enforced, By: "rlimit, for each process"})
	return nil
}

// ownDir makes the command's home and temporary directory. They end with the session.
func (s *session) ownDir() error {
	dir, err := os.MkdirTemp("", "penstock-")
	if err != nil {
		return fmt.Errorf("make the session's directory: %w", err)
	}
	s.undo.push(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.say.line("remove the session's directory: %v", err)
		}
	})
	if s.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("make the session's directory: %w", err)
	}
	for _, d := range []string{s.home(), s.tmp()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("make the session's directory: %w", err)
		}
	}
	return nil
}

func (s *session) home() string { return filepath.Join(s.dir, "home") }
func (s *session) tmp() string  { return filepath.Join(s.dir, "tmp") }

// layOut plans what the command may do with the host's files, and its environment.
func (s *session) layOut() error {
	c := s.cfg
	in, err := s.layoutInput("")
	if err != nil {
		return err
	}
	in.Write = append(in.Write, s.dir)
	plan, err := layout.InPlace(in, layout.OS())
	if err != nil {
		return err
	}
	self, err := filepath.EvalSymlinks(c.Host.Self)
	if err != nil {
		return fmt.Errorf("find the penstock binary: %w", err)
	}
	s.files = plan
	c.Warnings = append(c.Warnings, plan.Warnings...)
	s.spec = &sandbox.Spec{
		Limits: s.bounds, Terminal: s.term != nil && s.term.Interactive(),
		Argv: c.Command, Dir: plan.Dir, UID: c.Host.UID, GID: c.Host.GID, Penstock: self, Mounts: plan.Mounts,
	}
	for _, file := range []string{s.trust.Bundle, s.trust.Own, s.trust.Java} {
		if err := s.show(file, false); err != nil {
			return err
		}
	}
	if err := s.agentState(); err != nil {
		return err
	}
	s.environment(s.home(), s.tmp())
	return s.backend.Prepare(s.spec)
}

// show grants a path at the place that it really has.
func (s *session) show(path string, write bool) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("plan the pen: %w", err)
	}
	s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: real, Target: real, Write: write})
	return nil
}

// agentState puts links to a known agent's state into the command's home: to
// directories that Penstock keeps for its pens, and to some of the host's files,
// read-only.
func (s *session) agentState() error {
	if s.cfg.Profile == nil {
		return nil
	}
	base := filepath.Join(s.cfg.Paths.State, "agents", s.cfg.Profile.Name)
	for _, st := range s.cfg.Profile.State {
		name := filepath.FromSlash(st.Path)
		to := filepath.Join(base, name)
		switch {
		case st.Mode == profile.ReadOnly:
			to = filepath.Join(s.cfg.Host.Home, name)
			if _, err := os.Stat(to); err != nil {
				continue
			}
		default:
			if err := os.MkdirAll(to, 0o700); err != nil {
				return fmt.Errorf("make the agent's state directory: %w", err)
			}
		}
		if err := s.show(to, st.Mode != profile.ReadOnly); err != nil {
			return err
		}
		link := filepath.Join(s.home(), name)
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			return fmt.Errorf("link the agent's state: %w", err)
		}
		if err := os.Symlink(to, link); err != nil {
			return fmt.Errorf("link the agent's state: %w", err)
		}
	}
	return nil
}

// trustEnv are the variables by which programs trust the authority.
func (s *session) trustEnv() []string { return ca.TrustEnv(s.trust.Bundle, s.trust.Own) }

// proxyVariables are those of the session's port: there is no other way out.
func (s *session) proxyVariables(bool) []string { return s.explicit.variables() }

// proxyCommand is the process of the proxy role, under a profile of its own.
func (s *session) proxyCommand() (*exec.Cmd, error) {
	home, err := filepath.EvalSymlinks(s.cfg.Host.Home)
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	return darwin.ProxyCommand(s.spec.Penstock, home, ProxyRole)
}

// runProxy starts the proxy, which asks nobody: there is no list of sessions here by
// which a person could answer.
func (s *session) runProxy(_ context.Context, cfg *proxyctl.Config, files map[string]*os.File) error {
	return s.ownProxy(cfg, files)
}
