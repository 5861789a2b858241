package supervisor

import (
	"path/filepath"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// filesInput is what the pen's file system is to be, but for what trust and a copy put
// into it.
func (s *session) filesInput() (layout.Input, error) {
	if s.repo == nil {
		return s.layoutInput("")
	}
	in, err := s.layoutInput(s.repo.Top)
	in.Work, in.Tree = s.repo.Top, s.treeDir()
	return in, err
}

// layOut plans the pen's file system.
func (s *session) layOut() error {
	c := s.cfg
	in, err := s.filesInput()
	if err != nil {
		return err
	}
	in.Bundle, in.TrustStore = s.trust.Bundle, s.trust.Java
	if c.Copy {
		in.Tree, in.Guarded = s.copyDir(), true
	}
	plan, err := layout.Build(in, layout.OS())
	if err != nil {
		return err
	}
	s.files = plan
	if err := s.checkWritable(); err != nil {
		return err
	}
	c.Warnings = append(c.Warnings, plan.Warnings...)
	s.spec = &sandbox.Spec{
		Limits:   s.bounds,
		Terminal: s.term != nil && s.term.Interactive(),
		Argv:     c.Command, Dir: plan.Dir, UID: c.Host.UID, GID: c.Host.GID, Penstock: c.Host.Self,
		Mounts: plan.Mounts, Files: plan.Files, Hostname: "pen",
		Grants: grants(in), Cache: c.Paths.Cache,
		Journal: s.told.pen != nil, Watched: plan.Watched, Further: s.further.pen != nil,
	}
	// For programs that add roots to their own: reading all of them again costs
	// node a third of its start.
	s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: s.trust.Own, Target: ownPath})
	s.mountWorktree()
	return s.agentState(plan.Home)
}

// grants are what the command was given: its own /tmp, where it works, and what the
// policy names.
func grants(in layout.Input) []sandbox.Grant {
	out := []sandbox.Grant{{Path: "/tmp", Write: true}}
	add := func(path string, write bool) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // as the pen has it
		}
		out = append(out, sandbox.Grant{Path: path, Write: write})
	}
	add(in.Work, true)
	for _, p := range in.Write {
		add(p, true)
	}
	for _, p := range in.Read {
		add(p, false)
	}
	return out
}
