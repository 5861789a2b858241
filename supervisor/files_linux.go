package supervisor

import (
	"os"
	"path/filepath"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// filesInput is what the pen's file system is to be, but for what trust and a copy put
// into it.
func (s *session) filesInput() (layout.Input, error) {
	c, fs := s.cfg, s.cfg.Policy.Filesystem()
	in := layout.Input{
		Work: c.Workdir, Home: c.Host.Home, User: c.Host.User, UID: c.Host.UID, GID: c.Host.GID,
		Write: paths(fs.Write), Read: paths(fs.Read), Hide: paths(fs.Hide), Protect: paths(fs.Protect),
		Path:     filepath.SplitList(c.Host.Getenv("PATH")),
		Hostname: "pen",
	}
	if s.repo != nil {
		in.Work, in.Tree = s.repo.Top, s.treeDir()
	}
	// Whatever is granted, the pen has no business with Penstock's own files.
	in.Hide = append(in.Hide, c.Paths.Config, c.Paths.State, c.Paths.Data, c.Paths.Cache)
	if c.AuditDir != "" {
		in.Hide = append(in.Hide, c.AuditDir)
	}
	for _, u := range c.Policy.Upstreams() {
		for _, file := range []string{valueFile(&c.Host, &u.Origin), u.Client.Key, secrets.CacheFile(&u, c.Host.Lookup)} {
			if file != "" {
				in.Hide = append(in.Hide, file) // a proxy's credentials
			}
		}
	}
	for _, h := range c.Policy.Hooks() {
		files := []string{h.Client().Key}
		if w, ok := h.Asks.(*policy.Webhook); ok {
			files = append(files, valueFile(&c.Host, &w.Key))
		}
		for _, file := range files {
			if file != "" {
				in.Hide = append(in.Hide, file) // with it the pen could answer for the hook
			}
		}
	}
	// A tool that replaced the binary would be the supervisor of the next run. In a
	// copy there is nothing of the host's to replace.
	protect := func(name string) {
		if s.repo == nil || !within(name, s.repo.Top) {
			in.Protect = append(in.Protect, name)
		}
	}
	protect(c.Host.Self)
	if own, ok := s.backend.(interface{ Programs() []string }); ok {
		for _, name := range own.Programs() {
			protect(name)
		}
	}
	for _, p := range c.Policy.Files() {
		name := p.Name
		if !filepath.IsAbs(name) {
			// Named as the caller would, from the caller's directory; a rule given
			// by a flag has no file.
			name = filepath.Join(c.Host.Dir, name)
			if _, err := os.Lstat(name); err != nil {
				continue
			}
		}
		protect(name)
	}
	writable := in.Write
	if s.repo == nil {
		writable = append([]string{c.Workdir}, in.Write...)
	}
	if err := keepOwnFiles(c, writable); err != nil {
		return in, err
	}
	if filepath.IsAbs(c.Command[0]) {
		in.Programs = append(in.Programs, c.Command[0])
	}
	return in, nil
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

func paths(grants []policy.PathGrant) []string {
	var out []string
	for _, g := range grants {
		out = append(out, g.Path)
	}
	return out
}
