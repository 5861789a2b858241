package policy

import (
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Pin is the pin: of an allow rule: requests to the rule's hosts carry this
// secret and no other credential. It is a limit as a deny is one: whatever other
// rule allows a request to a pinned host and port, the pin holds for it, and
// what can't be read there is denied. It is immutable.
type Pin struct {
	Secret string `json:"secret"`           // its name under secrets:
	Header string `json:"header,omitempty"` // canonical; "" when the file leaves it to the secret
	// PassHeaders and PassQuery are names of header fields (canonical) and query
	// parameters that may hold what looks like a credential.
	PassHeaders []string `json:"pass_headers,omitempty"`
	PassQuery   []string `json:"pass_query,omitempty"`
	Ref         string   `json:"-"` // file:line of its rule
}

// maxPass bounds the lists of a pin.
const maxPass = 64

// pin reads {secret: NAME, header: NAME, pass_headers: [], pass_query: []}.
func (p *parser) pin(n *yaml.Node) *Pin {
	x := &Pin{}
	seen := p.fields(n, "pin", []field{
		{"secret", func(n *yaml.Node) { x.Secret, _ = p.text(n, "secret") }},
		{"header", func(n *yaml.Node) {
			if v, ok := p.text(n, "header"); ok {
				if msg, hint := badHeader(v); msg != "" {
					p.fail(n, hint, "header %s %s", quote(v), msg)
				}
				x.Header = http.CanonicalHeaderKey(v)
			}
		}},
		{"pass_headers", func(n *yaml.Node) {
			p.texts(n, "pass_headers", func(c *yaml.Node, v string) {
				if msg, hint := badPassHeader(v); msg != "" {
					p.fail(c, hint, "header %s %s", quote(v), msg)
				}
				x.PassHeaders = append(x.PassHeaders, http.CanonicalHeaderKey(v))
			})
		}},
		{"pass_query", func(n *yaml.Node) {
			p.texts(n, "pass_query", func(c *yaml.Node, v string) {
				if !validParameter(v) {
					p.fail(c, "write the name as it is without %-encoding", "%s is not the name of a query parameter", quote(v))
				}
				x.PassQuery = append(x.PassQuery, v)
			})
		}},
	})
	if seen != nil && seen["secret"] == nil {
		p.fail(n, "for example pin: {secret: EXAMPLE_API_KEY}", "pin has no secret")
	}
	return x
}

// badPassHeader says why a header can't be excepted from a pin.
func badPassHeader(s string) (msg, hint string) {
	if !isFieldName(s) {
		return "is not the name of a header", "write only the name"
	}
	switch http.CanonicalHeaderKey(s) {
	case "Authorization", "Proxy-Authorization", "Cookie":
		return "carries credentials and nothing else", "a pin that lets it through would pin nothing: remove it"
	}
	return "", ""
}

// validParameter says whether s can be the name of a query parameter.
func validParameter(s string) bool { return s != "" && len(s) <= 128 && isPrintableASCII(s) }

// valid says whether a pin is as the parser makes it.
func (x *Pin) valid() bool {
	ok := validEnv(x.Secret) && len(x.PassHeaders) <= maxPass && len(x.PassQuery) <= maxPass
	if x.Header != "" {
		msg, _ := badHeader(x.Header)
		ok = ok && msg == "" && http.CanonicalHeaderKey(x.Header) == x.Header
	}
	for _, h := range x.PassHeaders {
		msg, _ := badPassHeader(h)
		ok = ok && msg == "" && http.CanonicalHeaderKey(h) == h
	}
	for _, q := range x.PassQuery {
		ok = ok && validParameter(q)
	}
	return ok
}

// finishPin checks the pin of a rule, by the rule alone.
func finishPin(r *Rule, fail failer) {
	switch {
	case r.Deny:
		fail("pin", "leave it out", "pin has no meaning in a deny rule")
	case !r.pin.valid():
		fail("pin", "for example pin: {secret: EXAMPLE_API_KEY}", "this is not a pin")
	case r.cidr.IsValid():
		fail("pin", "write host: NAME: a secret goes to names only", "a rule about addresses can't pin")
	case r.protocol&(bitTLS|bitTCP) != 0:
		fail("pin", "let the rule be inspected (protocol https)", "pin can't be enforced in %s", protocolText(r.protocol&(bitTLS|bitTCP)))
	case r.host.name == HostInternal:
	case r.protocol&bitHTTP != 0:
		fail("pin", "use protocol: https, or leave it out", "pin does not go with http: the secret would travel in clear text")
	default:
		// What would go in clear is refused anyway; so the rule does not say it.
		r.protocol = bitHTTPS
	}
	r.pin.Ref = r.Source.Ref()
}

// pinned looks for a pin at the target: of what is read it is kept, what is not
// read is denied.
func (s *search) pinned(b *bucket) {
	t := &s.c.r.Target
	for _, r := range b.pins {
		switch {
		case r.ports != nil && !inPorts(r.ports, t.Port):
		case protocolBit(s.c.r.Protocol)&bitsWeb != 0:
			s.pin = r.pin
		case s.deny == nil || r.index < s.deny.index:
			s.deny = r
		}
	}
}

// pinReason says why a pin denies what can't be read.
func pinReason(rule *Rule, r *hooks.Request) string {
	return "rule " + rule.Ref() + " pins " + rule.about() + " to secret " + rule.pin.Secret + ": what is in " + r.Protocol.String() + " can't be seen"
}

// pins checks every pin against the secrets and the other rules of all layers.
func (m *merge) pins() {
	var pinned []*Rule
	for _, r := range m.d.Rules {
		if r.pin == nil {
			continue
		}
		m.pinSecret(r)
		for _, other := range pinned {
			if overlap(r, other) && !r.pin.equal(other.pin) {
				m.errs.add(r.Source, "write one pin for both, or rules for different hosts", "rule %s pins what %s pins otherwise", r.Text, other.Ref())
			}
		}
		pinned = append(pinned, r)
	}
	for _, p := range pinned {
		for _, r := range m.d.Rules {
			if !r.Deny && !r.cidr.IsValid() && !r.Inspects() && overlap(p, r) {
				m.warn(r.Source, false, "what the rule lets through unread is denied where "+p.Ref()+" pins a secret")
			}
		}
	}
}

// pinSecret finds the secret that a rule names.
func (m *merge) pinSecret(r *Rule) {
	i := slices.IndexFunc(m.d.Secrets, func(s Secret) bool { return s.Name == r.pin.Secret })
	if i < 0 {
		m.errs.add(r.Source, "declare it under secrets:", "rule %s pins secret %s, which is not declared", r.Text, r.pin.Secret)
		return
	}
	s := &m.d.Secrets[i]
	if !slices.ContainsFunc(s.Hosts, func(h string) bool {
		p, err := parseHostPattern(h)
		return err == nil && p.covers(r.host)
	}) {
		m.errs.add(r.Source, "add the host to the secret's hosts", "rule %s pins secret %s, which %s does not declare for %s", r.Text, s.Name, s.From.Ref(), r.about())
	}
	if r.pin.Header != "" && r.pin.Header != s.Header {
		m.errs.add(r.Source, "leave header out, or write the secret's", "rule %s pins header %s, and secret %s goes in %s (%s)", r.Text, r.pin.Header, s.Name, s.Header, s.From.Ref())
	}
	if s.Header == "" {
		m.errs.add(r.Source, "pin a secret that goes in a header", "rule %s pins secret %s, which goes in %s: beside it any header could hold another", r.Text, s.Name, s.place())
	}
	if s.AWS != nil {
		m.errs.add(r.Source, "hold the rule by hosts and paths", "rule %s pins secret %s, which signs requests: it can't be put into one", r.Text, s.Name)
		return
	}
	if s.Header == "Authorization" && s.Prefix == "" && !s.Basic {
		m.errs.add(s.From, `add prefix: "Bearer ", or what the service wants`, "secret %s is pinned by %s and has no prefix: what to put into a request without it is not known", s.Name, r.Ref())
	}
}

// overlap says whether two rules can be about the same name and port.
func overlap(a, b *Rule) bool {
	if !a.host.covers(b.host) && !b.host.covers(a.host) {
		return false
	}
	if a.ports == nil || b.ports == nil {
		return true
	}
	return slices.ContainsFunc(a.ports, func(p portRange) bool {
		return slices.ContainsFunc(b.ports, func(q portRange) bool { return p.from <= q.to && q.from <= p.to })
	})
}

func (x *Pin) equal(y *Pin) bool {
	return x.Secret == y.Secret && x.Header == y.Header && slices.Equal(x.PassHeaders, y.PassHeaders) && slices.Equal(x.PassQuery, y.PassQuery)
}

// String returns the pin in YAML.
func (x *Pin) String() string {
	s := "{secret: " + yamlText(x.Secret)
	if x.Header != "" {
		s += ", header: " + quoteYAML(x.Header)
	}
	for _, l := range []struct {
		key  string
		list []string
	}{{"pass_headers", x.PassHeaders}, {"pass_query", x.PassQuery}} {
		if len(l.list) == 0 {
			continue
		}
		quoted := make([]string, len(l.list))
		for i, v := range l.list {
			quoted[i] = quoteYAML(v)
		}
		s += ", " + l.key + ": [" + strings.Join(quoted, ", ") + "]"
	}
	return s + "}"
}
