package policy

import (
	"net/netip"
	"slices"

	"github.com/penstock/penstock/hooks"
)

// upstreams add up; one name is one proxy. What a layer says about the way of
// hosts holds for every layer below it, see boundVia.
func (m *merge) upstreams() {
	for _, f := range m.files {
		for i := range f.upstreams {
			u := &f.upstreams[i]
			j := slices.IndexFunc(m.d.Upstreams, func(v Upstream) bool { return v.Name == u.Name })
			switch {
			case j < 0:
				m.d.Upstreams = append(m.d.Upstreams, *u)
			case !u.same(&m.d.Upstreams[j]):
				m.errs.add(u.From, "give one of them another name", "upstream %s is here and at %s, and they differ", u.Name, m.d.Upstreams[j].From.Ref())
			}
		}
		if f.via.Set && !m.d.Via.Set {
			m.d.Via = f.via
		}
	}
	for _, f := range m.files {
		known := []string{Direct}
		for _, u := range m.d.Upstreams {
			// A lower layer's proxies are not a higher one's to rely on: what they
			// are could change under it.
			if u.From.Layer <= f.Layer {
				known = append(known, u.Name)
			}
		}
		check := func(name string, at Source, what string) {
			if name != "" && !slices.Contains(known, name) {
				m.errs.add(at, hintWords(name, known), "%s: there is no upstream %s in this layer or above it", what, quote(name))
			}
		}
		check(f.via.V, f.via.From, "egress.via")
		for _, name := range f.limits.Via.V {
			check(name, f.limits.Via.From, "limits.via")
		}
		for _, r := range f.rules {
			check(r.via, r.Source, "via of rule "+r.Text)
		}
	}
	m.oneWay()
	for i := range m.d.Upstreams {
		m.checkUpstream(&m.d.Upstreams[i])
	}
}

// oneWay refuses two ways to one host in one layer: the order of rules must not
// matter, and how a host is reached not depend on what is asked of it.
func (m *merge) oneWay() {
	type key struct {
		layer Layer
		about string
	}
	first := map[key]*Rule{}
	for _, r := range m.d.Rules {
		if r.via == "" {
			continue
		}
		k := key{r.Layer, r.about()}
		switch other := first[k]; {
		case other == nil:
			first[k] = r
		case other.via != r.via:
			m.errs.add(r.Source, "give both the same via: a host is reached in one way, whatever is asked of it",
				"%s goes via %s here and via %s at %s", k.about, r.via, other.via, other.Ref())
		}
	}
}

// Reroute says whether a hook, by its name, may have a target reached by an upstream,
// or Direct, and else why not. It may what a rule of its file could: the word of a
// higher layer and every limits.via bind it. What the policy sends by an upstream no
// hook has dialled directly.
func (p *Policy) Reroute(hook string, t *hooks.Target, via string) (why string) {
	now, by := p.ways.word(t)
	is := Direct
	if now != nil {
		is = now.Name
	}
	layer := Profile // of a hook that is no policy's
	if i := slices.IndexFunc(p.d.Hooks, func(h Hook) bool { return h.Name == hook }); i >= 0 {
		layer = p.d.Hooks[i].From.Layer
	}
	u := p.upstream(via)
	switch l := p.may.Via; {
	case u == nil && via != Direct:
		return "there is no upstream " + quote(via)
	case l.Set && !slices.Contains(l.V, via) && t.Host != HostInternal:
		return "via " + via + " is outside limits.via at " + l.From.Ref() + " (" + l.From.Layer.String() + ")"
	case via == is:
		return ""
	case via == Direct:
		return "the policy sends it via " + is + ", and not directly"
	case t.Host == HostInternal:
		return HostInternal + " is reached by no upstream"
	case u.excepts(t):
		return "upstream " + via + " excepts it"
	case u.From.Layer > layer:
		return "upstream " + via + " is of a lower layer (" + u.From.Layer.String() + ") than the hook"
	case by.set && by.layer < layer:
		return "a higher layer (" + by.layer.String() + ") prescribes via " + is
	}
	return ""
}

// checkUpstream holds the proxy itself to what is denied, and warns of what goes
// round it.
func (m *merge) checkUpstream(u *Upstream) {
	if u.finish() != nil {
		return // said by the parser
	}
	m.checkAmong(u)
	for i, p := range u.contacts() {
		for _, r := range m.d.Rules {
			switch {
			case !r.matchHost(&p.Target) || !r.matchFlow(hooks.ProtocolTCP, p.Target.Port):
			case r.Deny && r.Layer <= u.From.Layer:
				m.errs.add(u.From, "remove one of them", "upstream %s is at %s, which %s denies", u.Name, p.Target, r.Ref())
			case !r.Deny && i < len(u.URLs):
				m.warn(r.Source, true, "the rule lets raw bytes to "+u.URLs[i]+", which is upstream "+u.Name+": what is asked of it there, nobody judges")
			}
		}
	}
	if u.LogsIn() && u.Auth == "" && u.Scheme() != "https" {
		m.warn(u.From, false, "the password for upstream "+u.Name+" crosses the network in clear text: "+u.Scheme()+" is not encrypted")
	}
	for _, p := range m.d.Environment.Pass {
		if u.Env != "" && p.Pattern == u.Env {
			m.errs.add(p.From, "remove it", "%s holds the credentials of upstream %s (%s), so it can't be passed to the pen", u.Env, u.Name, u.From.Ref())
		}
	}
}

// boundVia holds a lower layer to the ways of a higher one: to its egress.via, to
// the via of its rules and to limits.via.
func (m *merge) boundVia(high, low *File) {
	round := func(at Source, via string, word Source, said string) {
		m.errs.add(at, "remove via, or ask who wrote "+word.Ref()+" ("+word.Layer.String()+")",
			"via %s goes round via %s, which %s prescribes", via, said, word.Ref())
	}
	if high.via.Set && low.via.Set && low.via.V != high.via.V {
		round(low.via.From, low.via.V, high.via.From, high.via.V)
	}
	for _, r := range low.rules {
		if r.Deny || r.via == "" {
			continue
		}
		if by := prescribes(high, r); by != nil {
			if by.via != r.via {
				round(r.Source, r.via, by.Source, by.via)
			}
		} else if high.via.Set && high.via.V != r.via {
			round(r.Source, r.via, high.via.From, high.via.V)
		}
	}
	m.limitVia(&high.limits, low)
}

// prescribes returns the file's most specific rule that says how all hosts of r
// are reached.
func prescribes(f *File, r *Rule) (best *Rule) {
	for _, q := range f.rules {
		if q.via == "" || !q.pattern().covers(r.pattern()) {
			continue
		}
		if best == nil || best.pattern().covers(q.pattern()) {
			best = q
		}
	}
	return best
}

// pattern is what the rule is about, as a pattern.
func (r *Rule) pattern() LimitPattern { return LimitPattern{host: r.host, cidr: r.cidr} }

func (m *merge) limitVia(l *Limits, low *File) {
	if !l.Via.Set {
		return
	}
	other := Direct
	if m.d.Via.Set {
		other = m.d.Via.V
	}
	if low.via.Set && !slices.Contains(l.Via.V, low.via.V) {
		m.outside(low.via.From, l.Via.From, "via %s is outside limits.via", low.via.V)
	}
	for _, r := range low.rules {
		if r.Deny || r.host.name == HostInternal {
			continue
		}
		way := r.via
		for i := 0; i < len(m.files) && way == ""; i++ {
			if by := prescribes(m.files[i], r); by != nil {
				way = by.via
			}
		}
		if way == "" {
			way = other
		}
		if !slices.Contains(l.Via.V, way) {
			m.outside(r.Source, l.Via.From, "rule %s goes via %s, which is outside limits.via", r.Text, way)
		}
	}
	if !slices.Contains(l.Via.V, other) {
		m.boundAudit(low, l.Via.From, "limits.via, which has no "+other)
	}
}

// boundProxies holds the proxies of a lower layer to limits.egress: whoever runs
// one sees what goes through.
func (m *merge) boundProxies(l *Limits, low *File) {
	for i := range low.upstreams {
		u := &low.upstreams[i]
		at := slices.Concat(u.URLs, u.KDC)
		if isURL(u.PAC) {
			at = append(at, u.PAC)
		}
		for _, s := range at {
			_, t, _, msg, _ := parseProxy(s)
			if msg != "" && s == u.PAC {
				w, _, _ := webhookOf(s)
				t = w.target
			} else if msg != "" {
				t, _ = parseKDC(s)
			}
			if t.Host == "" && !l.rangeAllowed(netip.PrefixFrom(t.Addr, t.Addr.BitLen())) || t.Host != "" && !l.hostAllowed(hostPattern{name: t.Host}) {
				m.outside(u.From, l.Egress.From, "upstream %s (%s) is outside limits.egress", u.Name, s)
			}
		}
		for _, a := range u.Addresses {
			if !l.rangeAllowed(a) {
				m.outside(u.From, l.Egress.From, "addresses %s of upstream %s is outside limits.egress", a, u.Name)
			}
		}
	}
}
