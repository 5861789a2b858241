package learn

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Seen is a request, or a connection that was not read, as often as it was let
// through.
type Seen struct {
	Request hooks.Request // protocol and target; of http and https method and path
	// Private is the address that the name led to, if it is none of the public ones.
	Private netip.Addr
	Count   int
}

// Bounds of what is written out; beyond them it is made general.
const (
	maxPaths = 4 // of a rule
	maxNames = 3 // below one domain
)

// Policy writes the smallest policy that allows what was seen, as YAML with a
// comment for each rule. What no rule can allow is returned too.
func Policy(seen []Seen, title ...string) (text []byte, left []Seen, err error) {
	rules := merged(collected(sayable(seen)))
	for i := range rules {
		rules[i].generalise()
	}
	// What a policy can't say, such as a method that is no word, is left.
	rules = slices.DeleteFunc(rules, func(r rule) bool {
		_, err := read(written([]rule{r}, nil))
		return err != nil
	})
	text = written(rules, title)
	p, err := read(text)
	if err != nil {
		return nil, nil, fmt.Errorf("read the learned policy back: %w", err)
	}
	allowed := func(q *hooks.Request) bool { return p.Decide(q).Action == hooks.Allow }
	for i := range seen {
		// A path may have readings that a pattern of it does not cover.
		for j := range rules {
			if q := &seen[i].Request; rules[j].covers(q) && !allowed(q) {
				rules[j].paths = nil
			}
		}
	}
	text = written(rules, title)
	if p, err = read(text); err != nil {
		return nil, nil, fmt.Errorf("read the learned policy back: %w", err)
	}
	for _, s := range seen {
		if !allowed(&s.Request) {
			left = append(left, s)
		}
	}
	return text, left, nil
}

// sayable leaves out the methods that no policy can name: one of them must not cost
// a host its rule.
func sayable(seen []Seen) []Seen {
	known := map[string]bool{"": true}
	return slices.DeleteFunc(slices.Clone(seen), func(s Seen) bool {
		m := s.Request.Method
		ok, asked := known[m]
		if !asked {
			_, err := read(written([]rule{{host: "a.example", protocol: hooks.ProtocolHTTPS, ports: []uint16{443}, methods: []string{m}}}, nil))
			ok = err == nil
			known[m] = ok
		}
		return !ok
	})
}

func read(text []byte) (*policy.Policy, error) {
	f, err := policy.Parse("learned", policy.User, text)
	if err != nil {
		return nil, err
	}
	return policy.New([]*policy.File{f})
}

// rule is an allow rule in the making.
type rule struct {
	host      string // name or "*." and a domain; "" for an address
	addr      netip.Addr
	protocol  hooks.Protocol
	ports     []uint16
	methods   []string // nil: none can be seen
	paths     []string // nil: any
	addresses []netip.Addr
	names     []string // that a wildcard stands for
	count     int
}

func (r *rule) key() string {
	return r.host + "|" + r.addr.String() + "|" + r.protocol.String()
}

// covers tells whether the request is one that the rule was made for.
func (r *rule) covers(q *hooks.Request) bool {
	t := &q.Target
	if r.protocol != q.Protocol || !slices.Contains(r.ports, t.Port) {
		return false
	}
	return t.Host != "" && (t.Host == r.host || slices.Contains(r.names, t.Host)) || t.Host == "" && t.Addr == r.addr
}

// add takes another rule about the same in.
func (r *rule) add(o *rule) {
	r.count += o.count
	r.ports = union(r.ports, o.ports...)
	r.methods = union(r.methods, o.methods...)
	r.paths = union(r.paths, o.paths...)
	r.names = union(r.names, o.names...)
	for _, a := range o.addresses {
		if !slices.Contains(r.addresses, a) {
			r.addresses = append(r.addresses, a)
		}
	}
	slices.SortFunc(r.addresses, netip.Addr.Compare)
}

func union[T cmp.Ordered](a []T, b ...T) []T {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// collected makes a rule of each name or address and protocol.
func collected(seen []Seen) []rule {
	by := map[string]*rule{}
	for i := range seen {
		s := &seen[i]
		q := &s.Request
		r := &rule{host: q.Target.Host, protocol: q.Protocol, ports: []uint16{q.Target.Port}, count: s.Count}
		if q.Target.Host == "" {
			r.addr = q.Target.Addr
		} else if s.Private.IsValid() && q.Target.Host != policy.HostInternal {
			r.addresses = []netip.Addr{s.Private.Unmap()}
		}
		if q.Protocol == hooks.ProtocolHTTP || q.Protocol == hooks.ProtocolHTTPS {
			r.methods, r.paths = []string{q.Method}, []string{q.Path}
		}
		if old := by[r.key()]; old != nil {
			old.add(r)
		} else {
			by[r.key()] = r
		}
	}
	return sorted(by)
}

func sorted(by map[string]*rule) []rule {
	out := make([]rule, 0, len(by))
	for _, r := range by {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b rule) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// merged puts the names below one domain together where there are several.
func merged(rules []rule) []rule {
	above := map[string]int{}
	wild := func(r *rule) string {
		d := domain(r.host)
		if d == "" || len(r.addresses) > 0 {
			return ""
		}
		return "*." + d + "|" + r.protocol.String()
	}
	for i := range rules {
		above[wild(&rules[i])]++
	}
	by := map[string]*rule{}
	for i := range rules {
		r := rules[i]
		if w := wild(&r); w != "" && above[w] >= maxNames {
			r.names = []string{r.host}
			r.host = "*." + domain(r.host)
		}
		if old := by[r.key()]; old != nil {
			old.add(&r)
		} else {
			by[r.key()] = &r
		}
	}
	return sorted(by)
}

// domain is what a wildcard above a name would stand on: its parent, if that is a
// domain that somebody has registered, or is below one.
func domain(host string) string {
	_, parent, ok := strings.Cut(host, ".")
	if !ok || host == policy.HostInternal {
		return ""
	}
	if _, err := publicsuffix.EffectiveTLDPlusOne(parent); err != nil {
		return ""
	}
	if _, icann := publicsuffix.PublicSuffix(parent); !icann {
		return "" // a name of somebody's own network, whose parts nobody here knows
	}
	return parent
}

// generalise makes few patterns of many paths: what is below each first segment, or
// no paths at all.
func (r *rule) generalise() {
	if r.paths == nil {
		return
	}
	if len(r.paths) > maxPaths {
		var first []string
		for _, p := range r.paths {
			segment, _, deeper := strings.Cut(strings.TrimPrefix(p, "/"), "/")
			if segment == "" || !deeper && len(r.paths) > 4*maxPaths {
				first = nil
				break
			}
			first = union(first, "/"+segment+"/**")
		}
		r.paths = first
	}
	if len(r.paths) > maxPaths || slices.ContainsFunc(r.paths, func(p string) bool {
		return p == "*" || len(p) > 1000 || strings.Contains(strings.TrimSuffix(p, "/**"), "*")
	}) {
		r.paths = nil
	}
}

func written(rules []rule, title []string) []byte {
	var b strings.Builder
	for _, t := range title {
		b.WriteString("# " + t + "\n")
	}
	b.WriteString("version: 1\negress:\n")
	if len(rules) == 0 {
		b.WriteString("  allow: []\n")
		return []byte(b.String())
	}
	b.WriteString("  allow:\n")
	for i := range rules {
		r := &rules[i]
		plural := "s"
		if r.count == 1 {
			plural = ""
		}
		what := " request"
		if r.methods == nil {
			what = " connection"
		}
		b.WriteString("    # " + strconv.Itoa(r.count) + what + plural)
		if len(r.names) > 0 {
			shown := r.names[:min(len(r.names), 6)]
			b.WriteString(" to " + strings.Join(shown, ", "))
			if n := len(r.names) - len(shown); n > 0 {
				b.WriteString(" and " + strconv.Itoa(n) + " more")
			}
		}
		b.WriteString("\n    - " + r.yaml() + "\n")
	}
	return []byte(b.String())
}

// yaml is the rule on one line.
func (r *rule) yaml() string {
	var parts []string
	if r.host == "" {
		parts = append(parts, "cidr: "+strconv.Quote(netip.PrefixFrom(r.addr, r.addr.BitLen()).String()))
	} else {
		parts = append(parts, "host: "+strconv.Quote(r.host))
	}
	parts = append(parts, "protocol: "+r.protocol.String())
	if usual := map[hooks.Protocol]uint16{hooks.ProtocolHTTP: 80, hooks.ProtocolHTTPS: 443, hooks.ProtocolTLS: 443}[r.protocol]; r.host == policy.HostInternal || len(r.ports) != 1 || r.ports[0] != usual {
		list := make([]string, len(r.ports))
		for i, p := range r.ports {
			list[i] = strconv.Itoa(int(p))
		}
		parts = append(parts, "ports: ["+strings.Join(list, ", ")+"]")
	}
	if r.methods != nil {
		parts = append(parts, "methods: ["+words(r.methods)+"]")
	}
	if r.paths != nil {
		parts = append(parts, "paths: ["+quoted(r.paths)+"]")
	}
	if r.addresses != nil {
		list := make([]string, len(r.addresses))
		for i, a := range r.addresses {
			list[i] = netip.PrefixFrom(a, a.BitLen()).String()
		}
		parts = append(parts, "addresses: ["+quoted(list)+"]")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// words writes methods: bare, but for what YAML takes for something else than text.
func words(list []string) string {
	out := slices.Clone(list)
	for i, s := range out {
		if slices.Contains([]string{"NULL", "TRUE", "FALSE", "YES", "NO", "ON", "OFF", "Y", "N"}, s) {
			out[i] = strconv.Quote(s)
		}
	}
	return strings.Join(out, ", ")
}

// quoted writes texts as YAML double-quoted scalars, of which JSON's and Go's ASCII
// ones are a part.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.QuoteToASCII(s)
	}
	return strings.Join(out, ", ")
}
