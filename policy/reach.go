package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Reach is a range of addresses beside the public ones, with ports, that the
// policy's allow rules, upstreams and hooks can lead to.
type Reach struct {
	Prefix   netip.Prefix
	From, To uint16 // ports, both included
}

// Reach returns what the policy can lead to beside public addresses, without
// duplicates and in order. A second fence round the proxy needs it; verdicts are
// Decide's alone.
func (p *Policy) Reach() []Reach {
	var out []Reach
	for _, r := range p.d.Rules {
		if r.Deny || r.Dial == nil {
			continue
		}
		ports := r.ports
		if ports == nil {
			ports = []portRange{{80, 80}, {443, 443}}
		}
		for _, a := range r.Dial.Addresses {
			for _, pr := range ports {
				out = append(out, Reach{a.Masked(), pr.from, pr.to})
			}
		}
	}
	for i := range p.d.Upstreams {
		for _, x := range p.d.Upstreams[i].contacts() {
			if x.Dial == nil {
				continue
			}
			for _, a := range x.Dial.Addresses {
				if isSpecial(a) {
					out = append(out, Reach{a.Masked(), x.Target.Port, x.Target.Port})
				}
			}
		}
	}
	for _, h := range p.d.Hooks {
		s, ok := h.Asks.(*Service)
		if !ok || s.Dial() == nil {
			continue
		}
		for _, a := range s.Dial().Addresses {
			if isSpecial(a) {
				out = append(out, Reach{a.Masked(), s.target.Port, s.target.Port})
			}
		}
	}
	for _, h := range p.d.Hosts {
		at := netip.PrefixFrom(h.Addr, h.Addr.BitLen())
		if isSpecial(at) {
			out = append(out, Reach{at, 1, 65535})
		}
	}
	slices.SortFunc(out, func(a, b Reach) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return slices.Compact(out)
}
