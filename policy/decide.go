package policy

import (
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// Verdict is what the policy says about a request. The zero Verdict is a deny.
type Verdict struct {
	Action hooks.Action // Allow or Deny: nobody can be asked in this version
	Rule   *Rule        // what decided; nil: the default, or a request that can't be judged
	Reason string       // one line for a person, ASCII, with how to allow what is denied
	Dial   *Dial        // what the dial guard may reach beside public addresses; nil: nothing
}

// Decision returns the verdict in the words of package hooks.
func (v Verdict) Decision() hooks.Decision {
	d := hooks.Decision{Action: v.Action, Reason: v.Reason}
	if v.Rule != nil {
		d.Rule = v.Rule.Ref()
	}
	return d
}

// search is one walk through the rules about a target.
type search struct {
	p     *Policy
	c     cursor
	deny  *Rule // the first of those that match, in the order of the policy
	allow *Rule
	dial  *Dial
	all   *[]*Rule // when set, every rule is collected and none judged
}

// bucket judges by the rules of one pattern; denyOnly where a wildcard meets a
// name or an address that no wildcard allows.
func (s *search) bucket(b *bucket, denyOnly bool) {
	if s.all != nil {
		*s.all = append(*s.all, b.deny...)
		if !denyOnly {
			*s.all = append(*s.all, b.allow...)
		}
		return
	}
	t := &s.c.r.Target
	for _, r := range b.deny {
		if (s.deny == nil || r.index < s.deny.index) && r.matchFlow(s.c.r.Protocol, t.Port) && r.matchRequest(&s.c) {
			s.deny = r
		}
	}
	if denyOnly || s.deny != nil {
		return
	}
	for _, r := range b.allow {
		if r.matchFlow(s.c.r.Protocol, t.Port) && r.matchRequest(&s.c) {
			if s.allow == nil || r.index < s.allow.index {
				s.allow = r
			}
			if r.Dial != s.dial && r.Dial != nil {
				s.dial = s.p.join(s.dial, r.Dial)
			}
		}
	}
}

// Decide judges a request whose target is canonical (ParseTarget) and whose
// path is, too (CanonicalPath). Any matching deny wins, else any matching allow,
// else the default. It does not allocate when a rule allows, but for a path
// that can be read in several ways.
func (p *Policy) Decide(r *hooks.Request) Verdict {
	if reason := unfit(r); reason != "" {
		return Verdict{Reason: reason}
	}
	s := search{p: p}
	s.c.r = r
	p.idx.visit(&r.Target, &s)
	switch {
	case s.deny != nil:
		return Verdict{Rule: s.deny, Reason: denyReason(s.deny, r)}
	case s.allow != nil:
		return Verdict{Action: hooks.Allow, Rule: s.allow, Reason: reasonAllow, Dial: s.dial}
	case p.act == hooks.Allow && r.Target.Host != HostInternal:
		return Verdict{Action: hooks.Allow, Reason: reasonDefaultAllow}
	}
	return Verdict{Reason: p.defaultReason(r)}
}

const (
	reasonAllow        = "allowed by a rule"
	reasonDefaultAllow = "no rule is about it; allowed because the default is allow (audit mode)"
)

// unfit says why a request can't be judged at all, "" if it can. These are
// denied whatever the policy says: a rule was not asked about them.
func unfit(r *hooks.Request) string {
	if r == nil {
		return "there is no request"
	}
	t := &r.Target
	switch {
	case t.Port == 0:
		return "the target has no port"
	case t.Host != "" && t.Addr.IsValid():
		return "the target has both a name and an address"
	case t.Host == "" && !t.Addr.IsValid():
		return "the target has neither name nor address"
	case t.Host != "" && !isCanonicalHost(t.Host):
		return "the host name is not in canonical form"
	case t.Host == "" && (t.Addr.Is4In6() || t.Addr.Zone() != ""):
		return "the address is not in canonical form"
	}
	switch r.Protocol {
	case hooks.ProtocolTCP, hooks.ProtocolTLS:
		return ""
	case hooks.ProtocolHTTP, hooks.ProtocolHTTPS:
	default:
		return "the protocol " + r.Protocol.String() + " is never allowed"
	}
	switch {
	case !validMethod(r.Method):
		return "the method is not upper-case letters"
	case r.Path == "*" && r.Method == "OPTIONS":
		return ""
	case !isCanonicalPath(r.Path):
		return "the path is not in canonical form"
	}
	return ""
}

// isCanonicalPath says whether CanonicalPath returns s for s, without allocating
// for plain paths.
func isCanonicalPath(s string) bool {
	if s == "" || s[0] != '/' || len(s) > maxPath {
		return false
	}
	if isPlainPath(s) {
		return true
	}
	c, err := CanonicalPath(s)
	return err == nil && c == s
}

// Connect is what can be said of a connection before its first byte.
type Connect struct {
	// TCP is the verdict for raw bytes. It denies when a deny rule looks at
	// methods or paths at this target: raw bytes could hold such a request.
	TCP Verdict
	// Raw: a rule with protocol tcp allows this target, so the flow is relayed
	// without looking at it. When TCP allows and Raw is false, the default does:
	// look first, inspect what can be inspected.
	Raw bool
	// PassThrough is the rule that lets TLS through unread, nil if none does or a
	// deny could apply inside. PassThroughDial goes with it.
	PassThrough     *Rule
	PassThroughDial *Dial
	// HTTP and HTTPS: some request in clear, or in TLS that is terminated, could
	// be allowed here; Decide says which.
	HTTP, HTTPS bool
}

// Possible says whether anything at all could be allowed at the target.
func (c *Connect) Possible() bool {
	return c.HTTP || c.HTTPS || c.PassThrough != nil || c.TCP.Action == hooks.Allow
}

// Connect says what could be allowed at a target, whatever is sent there.
func (p *Policy) Connect(t hooks.Target) Connect {
	r := hooks.Request{Protocol: hooks.ProtocolTCP, Target: t, Size: -1}
	c := Connect{TCP: p.Decide(&r)}
	c.Raw = c.TCP.Action == hooks.Allow && c.TCP.Rule != nil
	r.Protocol = hooks.ProtocolTLS
	if v := p.Decide(&r); v.Action == hooks.Allow && v.Rule != nil {
		c.PassThrough, c.PassThroughDial = v.Rule, v.Dial
	}
	if unfit(&r) == "" {
		c.HTTP = p.possible(&t, hooks.ProtocolHTTP)
		c.HTTPS = p.possible(&t, hooks.ProtocolHTTPS)
	}
	return c
}

// possible says whether some request of the protocol could be allowed.
func (p *Policy) possible(t *hooks.Target, proto hooks.Protocol) bool {
	allow := p.act == hooks.Allow && t.Host != HostInternal
	for _, r := range p.rulesFor(t) {
		if !r.matchFlow(proto, t.Port) {
			continue
		}
		if !r.Deny {
			allow = true
		} else if !r.conditional() {
			return false
		}
	}
	return allow
}

// rulesFor returns the rules about a target's name or address.
func (p *Policy) rulesFor(t *hooks.Target) []*Rule {
	var out []*Rule
	s := search{p: p}
	s.all = &out
	s.c.r = &hooks.Request{Target: *t}
	p.idx.visit(t, &s)
	return out
}

// Host returns the static address of a canonical name, from egress.hosts or
// --add-host. Its author named this address for this name: it needs no entry in
// addresses to be dialled.
func (p *Policy) Host(name string) (netip.Addr, bool) {
	a, ok := p.idx.hosts[name]
	return a, ok
}

// Default returns the effective default. Ask is handled as a deny.
func (p *Policy) Default() hooks.Action { return p.act }

// Mode returns Audit when what no rule decides is allowed.
func (p *Policy) Mode() Mode {
	if p.act == hooks.Allow {
		return Audit
	}
	return Enforce
}

// Sandbox returns the effective sandbox section.
func (p *Policy) Sandbox() SandboxSettings { return p.d.Sandbox }

// Filesystem returns the effective filesystem section. The caller must not
// change the slices; this holds for all accessors.
func (p *Policy) Filesystem() FilesystemSettings { return p.d.Filesystem }

// Environment returns the effective environment section.
func (p *Policy) Environment() EnvironmentSettings { return p.d.Environment }

// Secrets returns the effective secrets, without their values.
func (p *Policy) Secrets() []Secret { return p.d.Secrets }

// CAFiles returns the absolute paths of further roots for upstream certificates.
func (p *Policy) CAFiles() []string {
	out := make([]string, 0, len(p.d.CA))
	for _, c := range p.d.CA {
		out = append(out, c.Path)
	}
	return out
}

// Rules returns all rules, higher layers first.
func (p *Policy) Rules() []*Rule { return p.d.Rules }

// Warnings returns what loosens the pen or has no effect, to be said at start.
func (p *Policy) Warnings() []Warning { return p.d.Warnings }

// Files returns the files that the policy was made from.
func (p *Policy) Files() []FileRef { return p.d.Files }

// Untrusted returns the project file that does not count because nobody has
// approved its present content, nil if there is none.
func (p *Policy) Untrusted() *Untrusted { return p.d.Untrusted }
