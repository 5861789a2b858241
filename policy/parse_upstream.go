package policy

import (
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// via reads the name of an upstream; whether there is one is seen when the files
// are joined.
func (p *parser) via(n *yaml.Node, what string) (string, bool) {
	s, ok := p.text(n, what)
	if ok && s != Direct && !validUpstream(s) {
		p.fail(n, "write the name of an entry of egress.upstreams, or "+Direct, "%s %s is not the name of an upstream", what, quote(s))
		return "", false
	}
	return s, ok
}

func (p *parser) upstreams(f *File, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, `write {corp: {url: "http://proxy.corp.example:3128"}}`, "egress.upstreams must be a mapping, not %s", kind(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name, ok := p.text(k, "the name of an upstream")
		switch {
		case !ok:
			continue
		case !validUpstream(name):
			hint := "up to 32 lower-case letters, digits, - and _, beginning with a letter"
			if name == Direct {
				hint = "it is the word for no upstream"
			}
			p.fail(k, hint, "%s can't be the name of an upstream", quote(name))
			continue
		case seen[name] != 0:
			p.fail(k, "remove one of them", "upstream %s is here twice, first at line %d", name, seen[name])
			continue
		}
		seen[name] = k.Line
		if u, ok := p.upstream(k, v, name); ok {
			f.upstreams = append(f.upstreams, u)
		}
	}
}

func (p *parser) upstream(k, n *yaml.Node, name string) (Upstream, bool) {
	u := Upstream{Name: name, From: p.at(k)}
	before := len(p.errs.Errors)
	proxy := func(n *yaml.Node, s string) {
		scheme, _, canonical, msg, hint := parseProxy(s)
		switch {
		case msg != "":
			// Not quoted: it may hold a credential.
			p.fail(n, hint, "the URL of upstream %s %s", name, msg)
			return
		case u.scheme != "" && u.scheme != scheme:
			p.fail(n, "make two upstreams of them", "the URLs of upstream %s have different schemes", name)
		}
		u.scheme = scheme
		u.URLs = append(u.URLs, canonical)
	}
	seen := p.fields(n, "an upstream", append([]field{
		{"url", func(n *yaml.Node) {
			if s, ok := p.text(n, "url"); ok {
				proxy(n, s)
			}
		}},
		{"urls", func(n *yaml.Node) {
			p.texts(n, "urls", proxy)
			if n.Kind == yaml.SequenceNode && (len(n.Content) == 0 || len(n.Content) > maxProxies) {
				p.fail(n, "", "urls has from 1 to %d entries, not %d", maxProxies, len(n.Content))
			}
		}},
		{"user", func(n *yaml.Node) {
			var ok bool
			if u.User, ok = p.text(n, "user"); ok && (u.User == "" || !validLogin(u.User)) {
				p.fail(n, "write the name only; the password comes from where from says", "user is empty, or has a colon or a control character")
			}
		}},
		{"from", func(n *yaml.Node) { u.Origin = p.origin(n, "from", forProxy) }},
		{"auth", func(n *yaml.Node) {
			if v, ok := p.enum(n, "auth", []string{"basic", Negotiate, NTLM}); ok && v != "basic" {
				u.Auth = v
			}
		}},
		{"kdc", func(n *yaml.Node) {
			p.texts(n, "kdc", func(c *yaml.Node, s string) {
				t, ok := parseKDC(s)
				if !ok {
					p.fail(c, "write HOST or HOST:PORT", "kdc %s is not a host", quote(s))
				}
				u.KDC = append(u.KDC, t.String())
			})
		}},
		{"client_cert", func(n *yaml.Node) { u.Client.Cert = p.certPath(n, "client_cert") }},
		{"client_key", func(n *yaml.Node) { u.Client.Key = p.certPath(n, "client_key") }},
		{"addresses", func(n *yaml.Node) {
			u.Addresses = []netip.Prefix{}
			p.texts(n, "addresses", func(c *yaml.Node, s string) {
				if a := p.cidr(c, s); a.IsValid() {
					u.Addresses = append(u.Addresses, a)
				}
			})
		}},
		{"except", func(n *yaml.Node) { u.Except = p.patterns(n, "except") }},
	}, p.pacFields(&u)...))
	switch {
	case seen == nil || len(p.errs.Errors) > before:
	case seen["url"] != nil && seen["urls"] != nil:
		p.fail(seen["urls"], "write all of them in urls", "upstream %s has both url and urls", name)
	case len(u.URLs) == 0 && !u.IsPAC():
		p.fail(n, `write url: "http://proxy.corp.example:3128"`, "upstream %s has no url", name)
	case u.User != "" && !u.LogsIn():
		p.fail(seen["user"], "add from: env:NAME or file:PATH, which holds the password", "upstream %s has a user and no password", name)
	case seen["auth"] != nil && !u.LogsIn():
		p.fail(seen["auth"], "add from: env:NAME or file:PATH", "upstream %s has auth and no credentials", name)
	case u.Addresses != nil && len(u.Addresses) == 0:
		p.fail(seen["addresses"], "leave it out, or fill it", "addresses is empty")
	}
	if len(p.errs.Errors) == before {
		if msg, hint := u.check(); msg != "" {
			p.fail(n, hint, "upstream %s %s", name, msg)
		}
	}
	return u, len(p.errs.Errors) == before
}

// patterns reads host patterns and address ranges.
func (p *parser) patterns(n *yaml.Node, what string) []LimitPattern {
	v := []LimitPattern{}
	p.texts(n, what, func(c *yaml.Node, s string) {
		if cidr, e := parseCIDR(s); e == nil {
			v = append(v, LimitPattern{cidr: cidr, From: p.at(c)})
		} else if h, err := parseHostPattern(s); err != nil {
			pe := err.(*patternError)
			p.fail(c, pe.hint, "in %s: %s", what, pe.msg)
		} else {
			v = append(v, LimitPattern{host: h, From: p.at(c)})
		}
	})
	return v
}
