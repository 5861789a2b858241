package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (p *parser) egress(f *File, n *yaml.Node) {
	p.fields(n, "egress", []field{
		{"default", func(n *yaml.Node) {
			v, ok := p.enum(n, "egress.default", []string{"deny", "ask", "allow"})
			set(p, &f.def, n, v, ok)
		}},
		{"allow", func(n *yaml.Node) {
			p.list(n, "egress.allow", func(n *yaml.Node) { p.rule(f, n, "allow") })
		}},
		{"ask", func(n *yaml.Node) {
			p.list(n, "egress.ask", func(n *yaml.Node) { p.rule(f, n, "ask") })
		}},
		{"deny", func(n *yaml.Node) {
			p.list(n, "egress.deny", func(n *yaml.Node) { p.rule(f, n, "deny") })
		}},
		{"ask_timeout", func(n *yaml.Node) {
			v, ok := p.duration(n, "egress.ask_timeout")
			if ok && !validAskTime(v) {
				p.fail(n, "for example 60s", "egress.ask_timeout must be from %s to %s", minAskTime, maxAskTime)
				ok = false
			}
			set(p, &f.askTime, n, v, ok)
		}},
		{"approvers", func(n *yaml.Node) { p.approvers(f, n) }},
		{"hosts", func(n *yaml.Node) { p.hosts(f, n) }},
		{"ca", func(n *yaml.Node) { p.paths(n, "egress.ca", &f.ca) }},
		{"via", func(n *yaml.Node) {
			v, ok := p.via(n, "egress.via")
			set(p, &f.via, n, v, ok)
		}},
		{"upstreams", func(n *yaml.Node) { p.upstreams(f, n) }},
	})
}

func protocolWords() []string { return []string{"http", "https", "tls", "tcp"} }

func protocolOf(s string) protocols {
	switch s {
	case "http":
		return bitHTTP
	case "https":
		return bitHTTPS
	case "tls":
		return bitTLS
	case "tcp":
		return bitTCP
	}
	return 0
}

// rule reads one entry of the list allow, ask or deny.
func (p *parser) rule(f *File, n *yaml.Node, list string) {
	r := &Rule{Source: p.at(n), Deny: list == "deny", Ask: list == "ask"}
	what := "an " + list + " rule"
	if r.Deny {
		what = "a deny rule"
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		p.fail(n, "write {host: "+quote(n.Value)+"}", "%s must be a mapping, not %s", what, kind(n))
		return
	}
	var inspect *bool
	before := len(p.errs.Errors)
	fields := []field{
		{"host", func(n *yaml.Node) {
			if s, ok := p.text(n, "host"); ok {
				h, err := parseHostPattern(s)
				if err != nil {
					pe := err.(*patternError)
					p.fail(n, pe.hint, "%s", pe.msg)
				}
				r.host = h
			}
		}},
		{"cidr", func(n *yaml.Node) {
			if s, ok := p.text(n, "cidr"); ok {
				r.cidr = p.cidr(n, s)
			}
		}},
		{"ports", func(n *yaml.Node) { r.ports = p.ports(n) }},
		{"methods", func(n *yaml.Node) { r.methods = p.methods(n) }},
		{"paths", func(n *yaml.Node) {
			r.paths = []pathPattern{}
			p.texts(n, "paths", func(c *yaml.Node, s string) {
				pat, e := parsePathPattern(s)
				if e != nil {
					p.fail(c, e.hint, "%s", e.msg)
				}
				r.paths = append(r.paths, pat)
			})
		}},
		{"protocol", func(n *yaml.Node) { r.protocol = p.protocol(n) }},
		{"addresses", func(n *yaml.Node) {
			r.address = []netip.Prefix{}
			p.texts(n, "addresses", func(c *yaml.Node, s string) {
				if a := p.cidr(c, s); a.IsValid() {
					r.address = append(r.address, a)
				}
			})
		}},
		{"inspect", func(n *yaml.Node) {
			if v, ok := p.boolean(n, "inspect"); ok {
				inspect = &v
			}
		}},
		{"process", func(n *yaml.Node) { r.process = p.process(n) }},
		{"pin", func(n *yaml.Node) { r.pin = p.pin(n) }},
		{"budget", func(n *yaml.Node) { r.budget = p.budget(n) }},
		{"capture", func(n *yaml.Node) { r.capture = p.capture(n) }},
		{"via", func(n *yaml.Node) { r.via, _ = p.via(n, "via") }},
		{"when", func(n *yaml.Node) { r.when = p.whenOf(n, "when") }},
		{"git", func(n *yaml.Node) { r.git = p.git(n) }},
		{"grpc", func(n *yaml.Node) { r.grpc = p.grpc(n) }},
		{"jsonrpc", func(n *yaml.Node) { r.jsonrpc = p.jsonrpc(n) }},
		{"graphql", func(n *yaml.Node) { r.graphql = p.graphql(n) }},
		{"registry", func(n *yaml.Node) { r.registry = p.registry(n) }},
	}
	seen := p.fields(n, what, fields)
	if len(p.errs.Errors) > before {
		return // its parts are wrong: what would be said about the whole is noise
	}
	at := func(key string) Source {
		if k := seen[key]; k != nil {
			return p.at(k)
		}
		return p.at(n)
	}
	if finishRule(r, inspect, at, &p.errs) {
		f.rules = append(f.rules, r)
	}
}

func (p *parser) protocol(n *yaml.Node) protocols {
	if n.Kind == yaml.ScalarNode {
		s, ok := p.enum(n, "protocol", protocolWords())
		if !ok {
			return 0
		}
		return protocolOf(s)
	}
	var v Value[[]string]
	p.words(n, "protocol", protocolWords(), &v)
	var bits protocols
	for _, w := range v.V {
		bits |= protocolOf(w)
	}
	if v.Set && bits == 0 {
		p.fail(n, "leave it out for http and https", "protocol is empty: the rule would match nothing")
	}
	return bits
}

func (p *parser) methods(n *yaml.Node) []string {
	out := []string{}
	p.texts(n, "methods", func(c *yaml.Node, s string) {
		switch {
		case s == "*":
			p.fail(c, "leave methods out for any method", "method %s is not a method", quote(s))
		case s == "CONNECT":
			p.fail(c, "use host and ports: a tunnel is judged by what is in it", "method CONNECT can't be matched")
		case !validMethod(s):
			hint := ""
			if up := strings.ToUpper(s); validMethod(up) {
				hint = "did you mean " + quote(up) + "?"
			}
			p.fail(c, hint, "method %s is not a method", quote(s))
		default:
			out = append(out, s)
		}
	})
	return out
}

// validMethod says whether a method is upper-case ASCII letters, with hyphens
// as in VERSION-CONTROL. No method that is in use needs more.
func validMethod(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < 'A' || s[i] > 'Z') && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return true
}

// ports reads numbers and "FROM-TO" ranges.
func (p *parser) ports(n *yaml.Node) []portRange {
	out := []portRange{}
	p.list(n, "ports", func(c *yaml.Node) {
		if c.Kind == yaml.ScalarNode {
			if r, ok := parsePorts(c.Value); ok {
				if slices.Contains(out, r) {
					p.fail(c, "remove one of them", "port %s is here twice", quote(c.Value))
				}
				out = append(out, r)
				return
			}
		}
		p.fail(c, `for example 443, or "8000-8099"`, "a port must be a number from 1 to 65535, not %s", kind(c))
	})
	return out
}

func parsePorts(s string) (portRange, bool) {
	a, b, isRange := strings.Cut(s, "-")
	from, err := parsePort(a)
	if err != nil {
		return portRange{}, false
	}
	if !isRange {
		return portRange{from, from}, true
	}
	to, err := parsePort(b)
	if err != nil || to < from {
		return portRange{}, false
	}
	return portRange{from, to}, true
}

func (p *parser) cidr(n *yaml.Node, s string) netip.Prefix {
	c, e := parseCIDR(s)
	if e != nil {
		p.fail(n, e.hint, "%s", e.msg)
	}
	return c
}

// parseCIDR reads ADDRESS/BITS, or ADDRESS for a single one.
func parseCIDR(s string) (netip.Prefix, *patternError) {
	if a, err := netip.ParseAddr(s); err == nil {
		switch {
		case a.Zone() != "":
			return netip.Prefix{}, &patternError{"address " + quote(s) + " has a zone", "write it without %" + printable(a.Zone())}
		case a.Is4In6():
			return netip.Prefix{}, &patternError{"address " + quote(s) + " is an IPv4 address in IPv6", "write " + a.Unmap().String()}
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	c, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, &patternError{quote(s) + " is not an address range", "for example 10.20.0.0/16"}
	}
	if c.Addr().Is4In6() {
		return netip.Prefix{}, &patternError{"range " + quote(s) + " is an IPv4 range in IPv6", "write it as IPv4"}
	}
	if m := c.Masked(); m != c {
		return netip.Prefix{}, &patternError{"range " + quote(s) + " has bits set after its first " + strconv.Itoa(c.Bits()), "write " + m.String() + ", or " + c.Addr().String() + " for the one address"}
	}
	return c, nil
}

func (p *parser) hosts(f *File, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write {name: address}", "egress.hosts must be a mapping, not %s", kind(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name, ok := p.text(k, "a name in egress.hosts")
		if !ok {
			continue
		}
		addr, ok := p.text(v, "an address in egress.hosts")
		if !ok {
			continue
		}
		e, msg, hint := hostEntry(name, addr)
		if msg != "" {
			p.fail(k, hint, "%s", msg)
			continue
		}
		if line, ok := seen[e.Name]; ok {
			p.fail(k, "remove one of them", "name %s is in egress.hosts twice, first at line %d", quote(e.Name), line)
			continue
		}
		seen[e.Name] = k.Line
		e.From = p.at(k)
		f.hosts = append(f.hosts, e)
	}
}

// hostEntry checks a static name.
func hostEntry(name, addr string) (e HostEntry, msg, hint string) {
	var err error
	if e.Name, err = CanonicalHost(name); err != nil {
		return e, "name " + quote(name) + " is not a host name: " + cause(err), ""
	}
	if e.Name == HostInternal || e.Name == "localhost" {
		return e, "name " + quote(e.Name) + " can't be given another address", ""
	}
	if e.Addr, err = parseAddr(addr); err != nil {
		return e, "address " + quote(addr) + " of " + e.Name + " is not an address", "write one IPv4 or IPv6 address"
	}
	if e.Addr.IsUnspecified() || e.Addr.IsMulticast() || e.Addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return e, "address " + e.Addr.String() + " of " + e.Name + " is no host's address", ""
	}
	return e, "", ""
}
