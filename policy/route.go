package policy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// way is where a pattern's targets go, by the word of a layer.
type way struct {
	up    *Upstream // nil: direct
	layer Layer
	set   bool
}

// routes finds the way to a target, as index finds its rules.
type routes struct {
	names  map[string]*wayNode
	any    way
	v4, v6 []prefixWays
	other  way // of what no rule sends anywhere
	some   bool
}

type wayNode struct{ exact, below way }

type prefixWays struct {
	bits int
	ways map[netip.Prefix]way
}

// take keeps the word of the higher layer: rules come in that order.
func (w *way) take(v way) {
	if !w.set {
		*w = v
	}
}

func (x *routes) add(r *Rule, up *Upstream) {
	v := way{up, r.Layer, true}
	x.some = true
	switch {
	case r.cidr.IsValid():
		list := &x.v4
		if r.cidr.Addr().Is6() {
			list = &x.v6
		}
		i := slices.IndexFunc(*list, func(m prefixWays) bool { return m.bits == r.cidr.Bits() })
		if i < 0 {
			i = len(*list)
			*list = append(*list, prefixWays{r.cidr.Bits(), map[netip.Prefix]way{}})
		}
		if _, ok := (*list)[i].ways[r.cidr]; !ok {
			(*list)[i].ways[r.cidr] = v
		}
	case r.host.wild && r.host.name == "":
		x.any.take(v)
	default:
		if x.names == nil {
			x.names = map[string]*wayNode{}
		}
		n := x.names[r.host.name]
		if n == nil {
			n = &wayNode{}
			x.names[r.host.name] = n
		}
		if r.host.wild {
			n.below.take(v)
		} else {
			n.exact.take(v)
		}
	}
}

// better keeps the word of the higher layer, of one layer the more specific: the
// caller comes from the most specific pattern.
func (w *way) better(v way) {
	if v.set && (!w.set || v.layer < w.layer) {
		*w = v
	}
}

// find returns the way to a target.
func (x *routes) find(t *hooks.Target) *Upstream {
	up, _ := x.word(t)
	return up
}

// word returns the way to a target, and whose word it is.
func (x *routes) word(t *hooks.Target) (*Upstream, way) {
	if !x.some || t.Host == HostInternal {
		return nil, way{}
	}
	var w way
	if t.Host == "" {
		list := x.v4
		if t.Addr.Is6() {
			list = x.v6
		}
		most := -1
		for i := range list {
			pfx, err := t.Addr.Prefix(list[i].bits)
			if err != nil {
				continue
			}
			v := list[i].ways[pfx]
			if v.set && (!w.set || v.layer < w.layer || v.layer == w.layer && list[i].bits > most) {
				w, most = v, list[i].bits
			}
		}
	} else {
		if n := x.names[t.Host]; n != nil {
			w.better(n.exact)
		}
		for rest := t.Host; len(x.names) > 0; {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			if n := x.names[rest]; n != nil {
				w.better(n.below)
			}
		}
		w.better(x.any)
	}
	if !w.set {
		w = x.other
	}
	if w.up != nil && w.up.excepts(t) {
		return nil, w
	}
	return w.up, w
}

// Route returns the upstream by which a canonical target is reached, nil for
// none: it is dialled directly. It depends on the target's name or address only,
// not on what is asked of it, and says nothing about whether it is allowed.
func (p *Policy) Route(t *hooks.Target) *Upstream { return p.ways.find(t) }

// Upstreams returns the proxies that the policy names.
func (p *Policy) Upstreams() []Upstream { return p.d.Upstreams }

// staticDial is the permission for a proxy whose name may have a fixed address.
func (p *Policy) staticDial(x *Proxy) *Dial {
	if a, ok := p.idx.hosts[x.Target.Host]; ok {
		return &Dial{Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
	}
	return x.Dial
}

// compileRoutes checks the upstreams and makes the index of ways.
func (p *Policy) compileRoutes() error {
	for i := range p.d.Upstreams {
		u := &p.d.Upstreams[i]
		if err := u.finish(); err != nil {
			return errors.New("compile policy: " + err.Error())
		}
		for j := range u.proxies {
			u.proxies[j].Dial = p.unions.intern(p.staticDial(&u.proxies[j]))
		}
		for j := range u.kdcs {
			u.kdcs[j].Dial = p.unions.intern(p.staticDial(&u.kdcs[j]))
		}
		if u.source != nil {
			u.source.Dial = p.unions.intern(p.staticDial(u.source))
		}
	}
	lookUp := func(name string) (*Upstream, error) {
		u := p.upstream(name)
		if u == nil && name != Direct {
			return nil, errors.New("compile policy: there is no upstream " + quote(name))
		}
		return u, nil
	}
	if v := p.d.Via; v.Set {
		u, err := lookUp(v.V)
		if err != nil {
			return err
		}
		p.ways.other, p.ways.some = way{u, v.From.Layer, true}, true
	}
	for _, r := range p.d.Rules {
		if r.via == "" {
			continue
		}
		u, err := lookUp(r.via)
		if err != nil {
			return err
		}
		p.ways.add(r, u)
	}
	return nil
}
