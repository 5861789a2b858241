package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// autoTier leaves the choice to Penstock.
const autoTier = "auto"

// tiers in the order in which hints name them.
func tiers() []string {
	return []string{autoTier, "bwrap", "gvisor", "microvm", "firecracker", "wasm", "darwin"}
}

// strength orders tiers for limits: what a guest has to break to reach the host.
func strength(tier string) int {
	switch tier {
	case "bwrap", "darwin":
		return 1 // the host's kernel, filtered
	case "gvisor":
		return 2 // a kernel of its own in user space
	case "microvm", "firecracker", "wasm":
		return 3 // a machine of its own; no kernel at all
	}
	return 0
}

// Accepts tells whether a tier is at least as strong as every layer's limits ask,
// and among those that may be used.
func (s *SandboxSettings) Accepts(tier string) bool {
	return s.enough(tier) && (!s.Tiers.Set || slices.Contains(s.Tiers.V, tier))
}

func (s *SandboxSettings) enough(tier string) bool {
	return !s.MinTier.Set || strength(tier) >= strength(s.MinTier.V)
}

// Candidates are the tiers that auto has to try, the strongest first, among equals in
// the order that was written. It is empty where no list was given.
func (s *SandboxSettings) Candidates() []string {
	var out []string
	for _, t := range s.Tiers.V {
		if s.enough(t) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return strength(b) - strength(a) })
	return out
}

// tierList reads sandbox.tiers.
func (p *parser) tierList(n *yaml.Node, to *Value[[]string]) {
	before := len(p.errs.Errors)
	p.words(n, "sandbox.tiers", tiers()[1:], to)
	if len(p.errs.Errors) > before || !to.Set {
		return
	}
	if msg := badTiers(to.V); msg != "" {
		p.fail(n, "name each tier that may be used once, or leave sandbox.tiers out", "sandbox.tiers %s", msg)
	}
}

// badTiers says what is wrong with a list of tiers, "" if nothing is.
func badTiers(list []string) string {
	if len(list) == 0 {
		return "is empty"
	}
	for i, t := range list {
		switch {
		case !slices.Contains(tiers()[1:], t):
			return "can't have " + quote(t)
		case slices.Contains(list[:i], t):
			return "has " + t + " twice"
		}
	}
	return ""
}

// tierNames is a list of tiers in YAML.
func tierNames(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

// tiers: a list may be used where every list has it, whichever layer's it is, so that
// a lower layer can only take away.
func (m *merge) tiers() {
	s := &m.d.Sandbox
	cur := &s.Tiers
	for _, f := range m.files {
		v := f.sandbox.Tiers
		if !v.Set {
			continue
		}
		if !cur.Set {
			*cur = v
			continue
		}
		var both, cut []string
		for _, t := range cur.V {
			if slices.Contains(v.V, t) {
				both = append(both, t)
			}
		}
		for _, t := range v.V {
			if !slices.Contains(cur.V, t) {
				cut = append(cut, t)
			}
		}
		if len(both) == 0 {
			m.errs.add(v.From, "name one of those", "tiers %s has none of %s at %s", tierNames(v.V), tierNames(cur.V), cur.From.Ref())
			return
		}
		if len(cut) > 0 {
			m.warn(v.From, false, "tiers: "+strings.Join(cut, ", ")+" has no effect: "+cur.From.Ref()+" says "+tierNames(cur.V))
		}
		if len(both) < len(cur.V) {
			*cur = Value[[]string]{V: both, From: v.From, Set: true}
		}
	}
	if cur.Set && len(s.Candidates()) == 0 {
		m.errs.add(cur.From, "the limit at "+s.MinTier.From.Ref()+" ("+s.MinTier.From.Layer.String()+") does not allow it",
			"every tier of %s is weaker than %s", tierNames(cur.V), s.MinTier.V)
	}
}

// boundTier holds the tier that a layer names with the lists of the layers above it,
// and with its own: a file that contradicts itself has a mistake in it. So has a list
// that leaves out what a layer above it named.
func (m *merge) boundTier() {
	before := len(m.errs.Errors)
	for _, low := range m.files {
		t := low.sandbox.Tier
		if !t.Set || t.V == autoTier {
			continue
		}
		for _, high := range m.files {
			if l := high.sandbox.Tiers; l.Set && high.Layer <= low.Layer && !slices.Contains(l.V, t.V) {
				m.outside(t.From, l.From, "tier %s is not in tiers %s", t.V, tierNames(l.V))
			}
		}
	}
	s := &m.d.Sandbox
	if len(m.errs.Errors) == before && s.Tiers.Set && s.Tier.Set && s.Tier.V != autoTier && !slices.Contains(s.Tiers.V, s.Tier.V) {
		m.errs.add(s.Tiers.From, "add it, or name a tier of the list", "tiers %s leaves out tier %s of %s", tierNames(s.Tiers.V), s.Tier.V, s.Tier.From.Ref())
	}
}
