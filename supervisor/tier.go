//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor/config"
)

// choose takes the backend of the asked-for tier.
func (s *session) choose(ctx context.Context, backends []sandbox.Backend) error {
	b, warnings, err := chooseBackend(ctx, s.cfg, backends)
	s.backend = b
	s.cfg.Warnings = append(s.cfg.Warnings, warnings...)
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

// chooseBackend never goes below what was asked for. What it returns beside the backend
// is for the session's warnings.
func chooseBackend(ctx context.Context, cfg *config.Config, backends []sandbox.Backend) (sandbox.Backend, []string, error) {
	var names []string
	want := cfg.Policy.Sandbox()
	auto := cfg.Tier == "auto" || cfg.Tier == ""
	if auto && want.Tiers.Set {
		return strongest(ctx, want.Tiers.From.Ref(), want.Candidates(), backends)
	}
	for _, b := range backends {
		if (b.Name() == cfg.Tier || b.Any() && auto) && want.Accepts(b.Name()) {
			return b, nil, nil
		}
		if b.Name() != none.Name { // no choice that anything is advised to make
			names = append(names, b.Name())
		}
	}
	if least := want.MinTier; least.Set && !want.Accepts(cfg.Tier) {
		return nil, nil, fmt.Errorf("%s asks for at least: %w", least.From.Ref(), &tierError{least.V, names})
	}
	return nil, nil, &tierError{cfg.Tier, names}
}

// strongest tries the tiers of a list in their order and takes the first that runs
// here. Only what is of the machine passes a tier over: that a policy's rule or limit
// can't be kept in it is an error afterwards, or a file could have a weaker one chosen.
func strongest(ctx context.Context, from string, tiers []string, backends []sandbox.Backend) (sandbox.Backend, []string, error) {
	var passed []triedTier
	for _, name := range tiers {
		b, err := try(ctx, name, backends)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx) // nothing was found out
		}
		if err == nil {
			var warnings []string
			for _, p := range passed {
				warnings = append(warnings, fmt.Sprintf("%s: %s, so that auto took tier %s", from, p, name))
			}
			return b, warnings, nil
		}
		passed = append(passed, triedTier{name, err})
	}
	return nil, nil, &noTierError{from, passed}
}

// try returns the backend of a tier that auto may take and that runs here.
func try(ctx context.Context, name string, backends []sandbox.Backend) (sandbox.Backend, error) {
	i := slices.IndexFunc(backends, func(b sandbox.Backend) bool { return b.Name() == name })
	switch {
	case i < 0:
		return nil, errors.New("this build has no such tier")
	case !backends[i].Any():
		return nil, errors.New("auto never takes it, as it does not run any program")
	}
	_, err := backends[i].Probe(ctx)
	return backends[i], err
}

// triedTier is a tier that can't be had, and why.
type triedTier struct {
	name string
	err  error
}

func (t triedTier) String() string {
	cause := strings.TrimPrefix(t.err.Error(), "tier "+t.name+": ")
	return "tier " + t.name + " can't be had: " + cause
}

// noTierError says of each tier of a list why it can't be had.
type noTierError struct {
	from  string
	tried []triedTier
}

func (e *noTierError) Error() string {
	var all []string
	for _, t := range e.tried {
		all = append(all, t.String())
	}
	return e.from + ": no tier of sandbox.tiers runs here: " + strings.Join(all, "; ")
}

// Unwrap returns the causes.
func (e *noTierError) Unwrap() []error {
	var all []error
	for _, t := range e.tried {
		all = append(all, t.err)
	}
	return all
}

func (e *noTierError) Hint() string {
	var all []string
	for _, t := range e.tried {
		var h interface{ Hint() string }
		if errors.As(t.err, &h) && h.Hint() != "" {
			all = append(all, t.name+": "+h.Hint())
		}
	}
	all = append(all, "penstock doctor tiers says what this machine has")
	return strings.Join(all, "; ")
}

type tierError struct {
	tier string
	have []string
}

func (e *tierError) Error() string { return fmt.Sprintf("sandbox tier %q is not available", e.tier) }

func (e *tierError) Hint() string {
	return "this build and machine have: " + strings.Join(e.have, ", ")
}
