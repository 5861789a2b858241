package supervisor

import "github.com/penstock/penstock/supervisor/config"

// unpublished refuses to publish ports of a tier whose own network the pen does not reach.
func (s *session) unpublished() error {
	b, ok := s.backend.(interface{ Unpublished() bool })
	if !ok || !b.Unpublished() || len(s.cfg.Publish) == 0 {
		return nil
	}
	p := s.cfg.Publish[0]
	return &config.FlagError{
		Flag: "--publish", Value: p.Listen.String(), Why: "what listens in tier " + s.backend.Name() + " can't be reached from outside of it",
		Fix: "leave --publish out, or use the tier bwrap or gvisor",
	}
}
