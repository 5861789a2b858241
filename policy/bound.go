package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

func metadataRange() netip.Prefix { return netip.MustParsePrefix("169.254.0.0/16") }

// bound holds every layer below one with limits to them. What lies outside is
// an error that names both lines, not something silently cut off: who wrote it
// must know that it will not be.
func (m *merge) bound() {
	for _, high := range m.files {
		for _, low := range m.files {
			if high.Layer < low.Layer {
				m.boundEgress(&high.limits, low)
				m.boundVia(high, low)
				m.boundRest(&high.limits, low)
			}
		}
	}
}

func (m *merge) outside(what Source, limit Source, format string, args ...any) {
	m.errs.add(what, "the limit at "+limit.Ref()+" ("+limit.Layer.String()+") does not allow it", format, args...)
}

func (m *merge) boundEgress(l *Limits, low *File) {
	if l.Protocols.Set {
		for _, r := range low.rules {
			for _, w := range protocolWords() {
				// What the rule covers by implication is no wider than what it names.
				bits := r.protocol
				if bits == 0 {
					bits = bitsWeb
					if r.ports == nil && !slices.Contains(l.Protocols.V, "http") && slices.Contains(l.Protocols.V, "https") {
						// The common rule names nothing and means https; plain http
						// on port 80 is what the limit takes from it.
						bits = bitHTTPS
						r.protocol = bitHTTPS
						r.Text = ruleText(r)
					}
				}
				if !r.Deny && bits&protocolOf(w) != 0 && !slices.Contains(l.Protocols.V, w) {
					m.outside(r.Source, l.Protocols.From, "rule %s has protocol %s", r.Text, w)
				}
			}
		}
		for _, w := range protocolWords() {
			if !slices.Contains(l.Protocols.V, w) {
				m.boundAudit(low, l.Protocols.From, "limits.protocols, which has no "+w)
				break
			}
		}
	}
	if !l.Egress.Set {
		return
	}
	for _, r := range low.rules {
		if r.Deny {
			continue
		}
		if r.cidr.IsValid() && !l.rangeAllowed(r.cidr) || !r.cidr.IsValid() && !l.hostAllowed(r.host) {
			m.outside(r.Source, l.Egress.From, "rule %s is outside limits.egress", r.Text)
		}
		for _, a := range r.address {
			if !l.rangeAllowed(a) {
				m.outside(r.Source, l.Egress.From, "addresses %s of rule %s is outside limits.egress", a, r.Text)
			}
		}
	}
	for _, h := range low.hosts {
		if !l.rangeAllowed(netip.PrefixFrom(h.Addr, h.Addr.BitLen())) {
			m.outside(h.From, l.Egress.From, "address %s of %s is outside limits.egress", h.Addr, h.Name)
		}
	}
	m.boundProxies(l, low)
	for _, s := range low.secrets {
		for _, h := range s.Hosts {
			if p, err := parseHostPattern(h); err != nil || !l.hostAllowed(p) {
				m.outside(s.From, l.Egress.From, "host %s of secret %s is outside limits.egress", h, s.Name)
			}
		}
		if t, ok := s.asks(); ok && !l.reaches(&t) {
			m.outside(s.From, l.Egress.From, "%s, which secret %s is got from, is outside limits.egress", t.Name(), s.Name)
		}
	}
	m.boundHooks(l, low)
	if !l.hostAllowed(hostPattern{wild: true}) {
		m.boundAudit(low, l.Egress.From, "limits.egress")
	} else if !l.rangeAllowed(netip.MustParsePrefix("0.0.0.0/0")) || !l.rangeAllowed(netip.MustParsePrefix("::/0")) {
		m.boundAudit(low, l.Egress.From, "limits.egress, which has not every address")
	}
}

// boundAudit refuses what lets out all that no rule decides, to any name and
// address and in any protocol.
func (m *merge) boundAudit(low *File, limit Source, outside string) {
	if low.def.V == "allow" && m.d.Default.V == "allow" {
		m.outside(low.def.From, limit, "default: allow is outside %s", outside)
	}
	if low.mode.V == string(Audit) {
		m.outside(low.mode.From, limit, "mode audit is outside %s", outside)
	}
}

func (l *Limits) hostAllowed(h hostPattern) bool {
	return slices.ContainsFunc(l.Egress.V, func(p LimitPattern) bool {
		return !p.cidr.IsValid() && p.host.covers(h)
	})
}

func (l *Limits) rangeAllowed(c netip.Prefix) bool {
	return slices.ContainsFunc(l.Egress.V, func(p LimitPattern) bool {
		return p.cidr.IsValid() && p.cidr.Addr().Is4() == c.Addr().Is4() && within(c, p.cidr)
	})
}

func (m *merge) boundRest(l *Limits, low *File) {
	if l.Modes.Set && !slices.Contains(l.Modes.V, string(Audit)) {
		if low.def.V == "allow" {
			m.outside(low.def.From, l.Modes.From, "default: allow is audit mode")
		}
		if low.mode.V == string(Audit) {
			m.outside(low.mode.From, l.Modes.From, "mode audit is outside limits.modes")
		}
	}
	if l.Modes.Set && !slices.Contains(l.Modes.V, string(asking)) {
		if low.def.V == "ask" {
			m.outside(low.def.From, l.Modes.From, "default: ask is outside limits.modes")
		}
		if low.mode.V == string(asking) {
			m.outside(low.mode.From, l.Modes.From, "mode ask is outside limits.modes")
		}
		for _, r := range low.rules {
			if r.Ask {
				m.outside(r.Source, l.Modes.From, "rule %s asks, which is outside limits.modes", r.Text)
			}
		}
	}
	if t := low.sandbox.Tier; l.Tier.Set && t.Set && t.V != autoTier && strength(t.V) < strength(l.Tier.V) {
		m.outside(t.From, l.Tier.From, "tier %s is weaker than %s", t.V, l.Tier.V)
	}
	if l.CA.Set && !l.CA.V {
		for _, c := range low.ca {
			m.outside(c.From, l.CA.From, "further roots of trust are not allowed: %s", quote(c.Given))
		}
	}
	if l.Approvers.Set && !l.Approvers.V {
		for _, a := range low.approvers {
			m.outside(a.From, l.Approvers.From, "further keys that answer questions are not allowed: %s", a.Name)
		}
	}
	for _, list := range [][]PathGrant{low.fs.Write, low.fs.Read} {
		for _, g := range list {
			for _, h := range l.Hide {
				if below(g.Path, h.Path) {
					m.outside(g.From, h.From, "the grant of %s is in hidden %s", quote(g.Given), quote(h.Given))
				}
			}
		}
	}
	if l.Write.Set {
		for _, g := range low.fs.Write {
			if !slices.ContainsFunc(l.Write.V, func(d PathGrant) bool { return below(g.Path, d.Path) }) {
				m.outside(g.From, l.Write.From, "write access to %s is outside limits.write", quote(g.Given))
			}
		}
	}
	most(m, "memory", l.Memory, low.sandbox.Memory)
	most(m, "cpus", l.CPUs, low.sandbox.CPUs)
	most(m, "pids", l.PIDs, low.sandbox.PIDs)
	most(m, "open_files", l.OpenFiles, low.sandbox.OpenFiles)
	most(m, "read_rate", l.ReadRate, low.sandbox.ReadRate)
	most(m, "write_rate", l.WriteRate, low.sandbox.WriteRate)
	most(m, "timeout", l.Timeout, low.sandbox.Timeout)
	most(m, "idle", l.Idle, low.sandbox.Idle)
	if v := low.sandbox.OnViolation; l.OnViolation.Set && v.Set && strictness(v.V) < strictness(l.OnViolation.V) {
		m.outside(v.From, l.OnViolation.From, "on_violation %s is milder than %s", v.V, l.OnViolation.V)
	}
}

func most[T cmp.Ordered](m *merge, what string, limit, v Value[T]) {
	if limit.Set && v.Set && v.V > limit.V {
		m.outside(v.From, limit.From, "%s is more than the limit", what)
	}
}

// sandbox picks the values and completes them by the limits, so that what
// nobody set is bounded, too.
func (m *merge) sandbox() {
	s := &m.d.Sandbox
	s.Tier = pick(m.files, func(f *File) Value[string] { return f.sandbox.Tier })
	for _, f := range m.files {
		if t := f.limits.Tier; t.Set && strength(t.V) > strength(s.MinTier.V) {
			s.MinTier = t
		}
	}
	// A profile's wish is cut to what the layers above it allow.
	s.Memory = lesser(m.files, pick(m.files, func(f *File) Value[int64] { return f.sandbox.Memory }), func(l *Limits) Value[int64] { return l.Memory })
	s.PIDs = lesser(m.files, pick(m.files, func(f *File) Value[int64] { return f.sandbox.PIDs }), func(l *Limits) Value[int64] { return l.PIDs })
	s.OpenFiles = lesser(m.files, pick(m.files, func(f *File) Value[int64] { return f.sandbox.OpenFiles }), func(l *Limits) Value[int64] { return l.OpenFiles })
	s.ReadRate = lesser(m.files, pick(m.files, func(f *File) Value[int64] { return f.sandbox.ReadRate }), func(l *Limits) Value[int64] { return l.ReadRate })
	s.WriteRate = lesser(m.files, pick(m.files, func(f *File) Value[int64] { return f.sandbox.WriteRate }), func(l *Limits) Value[int64] { return l.WriteRate })
	s.CPUs = lesser(m.files, pick(m.files, func(f *File) Value[float64] { return f.sandbox.CPUs }), func(l *Limits) Value[float64] { return l.CPUs })
	s.Timeout = lesser(m.files, pick(m.files, func(f *File) Value[time.Duration] { return f.sandbox.Timeout }), func(l *Limits) Value[time.Duration] { return l.Timeout })
	s.Idle = lesser(m.files, pick(m.files, func(f *File) Value[time.Duration] { return f.sandbox.Idle }), func(l *Limits) Value[time.Duration] { return l.Idle })
	m.tiers()
	m.boundTier()
	m.onViolation()
	m.worktree()
}

// worktree: who asks for a copy gets one, whatever the others say.
func (m *merge) worktree() {
	cur := &m.d.Sandbox.Worktree
	for _, f := range m.files {
		switch v := f.sandbox.Worktree; {
		case !v.Set || cur.Set && v.V == cur.V:
		case !cur.Set:
			*cur = v
		case v.V:
			m.warn(cur.From, false, "worktree: false has no effect: "+v.From.Ref()+" says true")
			*cur = v
		default:
			m.warn(v.From, false, "worktree: false has no effect: "+cur.From.Ref()+" says true")
		}
	}
}

// onViolation: the strictest holds, as for the default. A repository must not be
// able to ask for less than the person or the administrator did.
func (m *merge) onViolation() {
	cur := &m.d.Sandbox.OnViolation
	for _, f := range m.files {
		for _, v := range []Value[string]{f.limits.OnViolation, f.sandbox.OnViolation} {
			switch {
			case !v.Set || cur.Set && v.V == cur.V:
			case !cur.Set:
				*cur = v
			case strictness(v.V) > strictness(cur.V):
				m.warn(cur.From, false, "on_violation: "+cur.V+" has no effect: "+v.From.Ref()+" says "+v.V)
				*cur = v
			default:
				m.warn(v.From, false, "on_violation: "+v.V+" has no effect: "+cur.From.Ref()+" says "+cur.V)
			}
		}
	}
}

func lesser[T cmp.Ordered](files []*File, v Value[T], get func(*Limits) Value[T]) Value[T] {
	for _, f := range files {
		if l := get(&f.limits); l.Set && (!v.Set || l.V < v.V) {
			v = l
		}
	}
	return v
}
