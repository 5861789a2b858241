package supervisor

import (
	"fmt"
	"strings"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
)

// choose takes the backend of the asked-for tier.
func (s *session) choose(backends []sandbox.Backend) (err error) {
	s.backend, err = chooseBackend(s.cfg, backends)
	return err
}

// anonymous refuses rules that ask for a program where no program can be told.
func (s *session) anonymous() error {
	b, ok := s.backend.(interface{ Anonymous() bool })
	if !ok || !b.Anonymous() {
		return nil
	}
	for _, r := range s.cfg.Policy.Rules() {
		if r.AsksProcess() {
			return &anonymousError{r.Source.Ref(), r.Text, s.backend.Name()}
		}
	}
	return nil
}

type anonymousError struct{ from, rule, tier string }

func (e *anonymousError) Error() string {
	return fmt.Sprintf("%s: rule %s asks for a process, which tier %s can't tell", e.from, e.rule, e.tier)
}

func (e *anonymousError) Hint() string {
	return "leave process out of the rule, or use the tier bwrap"
}

// chooseBackend never goes below what was asked for.
func chooseBackend(cfg *config.Config, backends []sandbox.Backend) (sandbox.Backend, error) {
	var names []string
	want := cfg.Policy.Sandbox()
	for _, b := range backends {
		if (b.Name() == cfg.Tier || b.Any() && (cfg.Tier == "auto" || cfg.Tier == "")) && want.Accepts(b.Name()) {
			return b, nil
		}
		names = append(names, b.Name())
	}
	if least := want.MinTier; least.Set && !want.Accepts(cfg.Tier) {
		return nil, fmt.Errorf("%s asks for at least: %w", least.From.Ref(), &tierError{least.V, names})
	}
	return nil, &tierError{cfg.Tier, names}
}

type tierError struct {
	tier string
	have []string
}

func (e *tierError) Error() string { return fmt.Sprintf("sandbox tier %q is not available", e.tier) }

func (e *tierError) Hint() string {
	return "this build and machine have: " + strings.Join(e.have, ", ")
}
