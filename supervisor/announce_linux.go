package supervisor

import (
	"fmt"

	"github.com/penstock/penstock/sandbox"
)

// announcement says what the session is.
func (s *session) announcement() *announcement {
	c := s.cfg
	a := &announcement{
		// Lists are never null in JSON.
		Policies: []string{}, Writable: []string{}, Secrets: []string{}, Published: []string{},
		Supervisor: s.supervisor(), Tier: s.backend.Name(), Mode: string(c.Mode), Default: c.Policy.Default().String(), Rules: len(c.Policy.Rules()),
		Command: c.Command, Workdir: c.Workdir, Protected: append([]string{}, s.files.Protected...), Hidden: append([]string{}, s.files.Hidden...),
		Withheld:     append([]string{}, s.withheld...),
		Worktree:     s.worktreeNote(),
		Copy:         s.copyNote(),
		Capabilities: s.caps, Warnings: append([]string{}, c.Warnings...), Hints: append([]string{}, c.Hints...),
	}
	for _, f := range c.Policy.Files() {
		a.Policies = append(a.Policies, f.Name)
	}
	if c.Profile != nil {
		a.Profile = c.Profile.Name
	}
	for _, m := range s.shown {
		if m.Kind == sandbox.Bind && m.Write {
			a.Writable = append(a.Writable, m.Target)
		}
	}
	for _, d := range c.Policy.Secrets() {
		a.Secrets = append(a.Secrets, d.Name)
	}
	for _, p := range c.Publish {
		a.Published = append(a.Published, fmt.Sprintf("port %d of the pen at %s", p.Port, p.Listen))
	}
	return a
}

func (s *session) announce() {
	if s.bare() {
		s.banner(s.say)
	}
	a := s.announcement()
	a.brief(s.say)
	if s.cfg.Verbose {
		a.detail(s.say)
	}
}
