package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Denied returns ranges of addresses that the administrator's policy denies
// whatever is sent there, by whom and to which port, without what lies in but:
// most of them at most, the widest first. A second fence before the proxy needs
// it; verdicts are Decide's alone, and more may be denied.
func (p *Policy) Denied(most int, but ...netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, r := range p.d.Rules {
		if r.Layer == System && r.Deny && r.cidr.IsValid() && r.denies() == bitsAll && r.ports == nil && !r.conditional() && r.process == nil {
			all = append(all, r.cidr)
		}
	}
	for _, hole := range but {
		var rest []netip.Prefix
		for _, c := range all {
			rest = append(rest, except(c, hole)...)
		}
		all = rest
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Compare(b))
	})
	var out []netip.Prefix
	for _, c := range all {
		if len(out) == most {
			break
		}
		if !slices.ContainsFunc(out, func(wider netip.Prefix) bool { return wider.Overlaps(c) }) {
			out = append(out, c)
		}
	}
	return out
}

// except returns what is in c and not in hole.
func except(c, hole netip.Prefix) (out []netip.Prefix) {
	switch {
	case !c.Overlaps(hole):
		return []netip.Prefix{c}
	case c.Bits() >= hole.Bits():
		return nil
	}
	// Of each half, and half of that, the one in which the hole is not.
	for bits := c.Bits() + 1; bits <= hole.Bits(); bits++ {
		a := hole.Addr().AsSlice()
		a[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
		addr, _ := netip.AddrFromSlice(a)
		out = append(out, netip.PrefixFrom(addr, bits).Masked())
	}
	return out
}
