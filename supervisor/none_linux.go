package supervisor

import (
	"errors"
	"path/filepath"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/sandbox/procs"
)

// bare says whether the command has no sandbox.
func (s *session) bare() bool { return s.backend.Name() == none.Name }

// errSupervisedBare is that of a session which the privileged supervisor would have.
var errSupervisedBare = errors.New("--sandbox none: there is a privileged supervisor here, which runs nothing without a sandbox")

type bareError struct{ error }

// Hint says how to have neither.
func (bareError) Hint() string {
	return "leave out --sandbox none; or add --rootless, if your administrator lets you"
}

// layOutBare plans what there is without a view of its own: the caller's files.
func (s *session) layOutBare() {
	c := s.cfg
	s.files = &layout.Plan{Dir: c.Workdir, Home: c.Host.Home}
	for _, dir := range filepath.SplitList(c.Host.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			s.files.Path = append(s.files.Path, dir)
		}
	}
	s.spec = &sandbox.Spec{
		Limits: s.bounds, Terminal: s.term != nil && s.term.Interactive(),
		Argv: c.Command, Dir: c.Workdir, UID: c.Host.UID, GID: c.Host.GID, Penstock: c.Host.Self, Cache: c.Paths.Cache,
	}
}

// bareOwner has a bare command's user namespace told, and what the command has left
// killed at its end: there is no process namespace that would end with its first
// process. It is nil for others.
func (s *session) bareOwner(o *netns.Options) chan<- uint64 {
	if !s.bare() {
		return nil
	}
	owner := make(chan uint64, 1)
	o.Ended = func() {
		if err := procs.KillWithin(<-owner); err != nil {
			s.say.line("WARNING: %v", err)
		}
	}
	return owner
}

// own finds out the user namespace that all of a bare command is in.
func (s *session) own(owner chan<- uint64) error {
	if owner == nil {
		return nil
	}
	ns, err := posture.NamespacesOf(s.pen.Process().Pid)
	s.owner = ns.User
	owner <- ns.User // 0 on an error: nothing was started yet
	if err != nil {
		s.pen.Close()
		s.pen, s.net = nil, nil
	}
	return err
}

// banner is what nobody who starts a bare command may overlook.
func (s *session) banner(p *printer) {
	const rule = "****************************************************************"
	p.line(rule)
	p.line("NO SANDBOX (--sandbox none)")
	p.line("The command runs as %s: it can read and change every file that", escape(s.cfg.Host.User))
	p.line("you can, Penstock's keys and records among them, and reach")
	if s.explicit != nil {
		p.line("every process of yours. IT HAS THE HOST'S NETWORK: only programs")
		p.line("that obey the proxy variables are captured, decided and recorded.")
	} else {
		p.line("every process of yours. Its connections are captured, decided")
		p.line("and recorded; a command that means harm gets past that.")
	}
	p.line(rule)
}

// bareEnd reminds of it when the session is over.
func (s *session) bareEnd() {
	if s.backend != nil && s.bare() && s.ran {
		s.say.line("WARNING: NO SANDBOX: session %s ran as %s on all of your files", s.id, escape(s.cfg.Host.User))
	}
}
