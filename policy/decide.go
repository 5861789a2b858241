package policy

import (
	"net/netip"
	"slices"

	"github.com/penstock/penstock/hooks"
)

// Verdict is what the policy says about a request. The zero Verdict is a deny.
type Verdict struct {
	Action hooks.Action // Allow, Deny or Ask, which is a deny until a person has approved (Approval)
	Rule   *Rule        // what decided; nil: the default, or a request that can't be judged
	Reason string       // one line for a person, ASCII, with how to allow what is denied
	Pin    *Pin         // nil: any credential may be in it
	// Budgets are those that the request counts against; the caller must not
	// change the slice.
	Budgets []*Budget
	// Capture is what is to be kept of the exchange, the most that any rule which the
	// request matches asks for; nil: nothing.
	Capture *Capture
	Dial    *Dial // what the dial guard may reach beside public addresses; nil: nothing
	// Bodies are rules that would allow the request if its body is what they say: who
	// has read that asks Settle. The verdict is the one without them.
	Bodies []*Rule
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
	p       *Policy
	c       cursor
	deny    *Rule // the first of those that match, in the order of the policy
	allow   *Rule
	ask     *Rule
	dial    *Dial
	asked   *Dial // of the rules that ask
	pin     *Pin
	budgets []*Budget
	capture *Capture
	bodies  []*Rule // allows that match as far as the head tells
	mode    mode
	all     []*Rule
}

// mode is what a search is for.
type mode uint8

const (
	judge   mode = iota // this request
	foresee             // any request of this protocol: methods and paths don't count
	collect             // all rules about the target
)

// bucket judges by the rules of one pattern; denyOnly where a wildcard meets a
// name or an address that no wildcard allows.
func (s *search) bucket(b *bucket, denyOnly bool) {
	if s.mode != judge {
		s.survey(b, denyOnly)
		return
	}
	t := &s.c.r.Target
	for _, r := range b.deny {
		if (s.deny == nil || r.index < s.deny.index) && r.matchFlow(s.c.r.Protocol, t.Port) && r.matchProcess(s.c.r.Process) && r.matchRequest(&s.c) {
			s.deny = r
		}
	}
	if len(b.pins) > 0 {
		s.pinned(b)
	}
	if denyOnly || s.deny != nil {
		return
	}
	if len(b.budgets) > 0 {
		s.budgeted(b)
	}
	if len(b.captures) > 0 {
		s.captured(b)
	}
	for _, r := range b.allow {
		if r.matchFlow(s.c.r.Protocol, t.Port) && r.matchProcess(s.c.r.Process) && r.matchRequest(&s.c) {
			if r.speech != nil && r.byBody(&s.c) {
				s.bodies = append(s.bodies, r)
				continue
			}
			if s.allow == nil || r.index < s.allow.index {
				s.allow = r
			}
			if r.Dial != s.dial && r.Dial != nil {
				s.dial = s.p.join(s.dial, r.Dial)
			}
		}
	}
	for _, r := range b.ask {
		if r.matchFlow(s.c.r.Protocol, t.Port) && r.matchProcess(s.c.r.Process) && r.matchRequest(&s.c) {
			if s.ask == nil || r.index < s.ask.index {
				s.ask = r
			}
			if r.Dial != s.asked && r.Dial != nil {
				s.asked = s.p.join(s.asked, r.Dial)
			}
		}
	}
}

// survey looks at the rules of one pattern without judging a request.
func (s *search) survey(b *bucket, denyOnly bool) {
	if s.mode == collect {
		s.all = append(s.all, b.deny...)
		if !denyOnly {
			s.all = append(append(s.all, b.allow...), b.ask...)
		}
		return
	}
	for _, r := range b.deny {
		if !r.conditional() && r.matchFlow(s.c.r.Protocol, s.c.r.Target.Port) && r.matchProcess(s.c.r.Process) {
			s.deny = r
			return
		}
	}
	for i := 0; i < len(b.allow) && s.allow == nil && !denyOnly; i++ {
		if r := b.allow[i]; r.matchFlow(s.c.r.Protocol, s.c.r.Target.Port) && r.matchProcess(s.c.r.Process) {
			s.allow = r
		}
	}
	for i := 0; i < len(b.ask) && s.ask == nil && !denyOnly; i++ {
		if r := b.ask[i]; r.matchFlow(s.c.r.Protocol, s.c.r.Target.Port) && r.matchProcess(s.c.r.Process) {
			s.ask = r
		}
	}
}

// Decide judges a request whose target is canonical (ParseTarget) and whose
// path is, too (CanonicalPath). Any matching deny wins, else any matching allow,
// else any matching ask, else the default. It does not allocate when a rule allows, but for a path
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
		return Verdict{Action: hooks.Allow, Rule: s.allow, Reason: reasonAllow, Pin: s.pin, Budgets: s.budgets, Capture: s.capture, Dial: p.join(s.dial, p.static(&r.Target)), Bodies: s.readBodies()}
	case p.act != hooks.Allow && s.ask != nil || p.asksByDefault(&r.Target):
		v := p.asking(&s)
		v.Bodies = s.readBodies()
		return v
	case p.act == hooks.Allow && r.Target.Host != HostInternal:
		reason := reasonDefaultAllow
		if s.ask != nil {
			reason += "; otherwise " + s.ask.Ref() + " would ask"
		}
		return Verdict{Action: hooks.Allow, Reason: reason, Pin: s.pin, Budgets: s.budgets, Capture: s.capture, Dial: p.static(&r.Target), Bodies: s.readBodies()}
	}
	if list := s.readBodies(); list != nil {
		return Verdict{Reason: reasonBody(list), Pin: s.pin, Budgets: s.budgets, Capture: s.capture, Bodies: list}
	}
	return Verdict{Reason: p.defaultReason(r), Pin: s.pin, Budgets: s.budgets, Capture: s.capture} // audit mode may let it through
}

// static opens the address that egress.hosts gives to this very name.
func (p *Policy) static(t *hooks.Target) *Dial {
	if len(p.idx.dials) == 0 || t.Host == "" {
		return nil
	}
	return p.idx.dials[t.Host]
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
	// be allowed here, by a person too; Decide says which.
	HTTP, HTTPS bool
	// RawAsk: a rule with protocol tcp asks about this target, and no rule allows
	// any request there: somebody has to approve before the first byte.
	RawAsk bool
}

// Possible says whether anything at all could be allowed at the target.
func (c *Connect) Possible() bool {
	return c.HTTP || c.HTTPS || c.PassThrough != nil || c.TCP.Action == hooks.Allow || c.TCP.Action == hooks.Ask
}

// Connect says what could be allowed at a target, whatever is sent there, to a
// process that nobody knows.
func (p *Policy) Connect(t hooks.Target) Connect { return p.ConnectBy(t, nil) }

// ConnectBy says what could be allowed at a target to a process, whatever it
// sends there.
func (p *Policy) ConnectBy(t hooks.Target, who *hooks.Process) Connect {
	r := hooks.Request{Protocol: hooks.ProtocolTCP, Target: t, Process: who, Size: -1}
	c := Connect{TCP: p.Decide(&r)}
	c.Raw = c.TCP.Action == hooks.Allow && c.TCP.Rule != nil
	if unfit(&r) != "" {
		return c
	}
	r.Protocol = hooks.ProtocolTLS
	tls := search{p: p}
	tls.c.r = &r
	p.idx.visit(&r.Target, &tls)
	if tls.deny == nil && tls.allow != nil {
		c.PassThrough, c.PassThroughDial = tls.allow, p.join(tls.dial, p.static(&t))
	}
	var http, https bool
	r.Protocol = hooks.ProtocolHTTP
	c.HTTP, http = p.possible(&r)
	r.Protocol = hooks.ProtocolHTTPS
	c.HTTPS, https = p.possible(&r)
	if p.act != hooks.Allow && tls.deny == nil && tls.allow == nil && tls.ask != nil && !https {
		// What a rule allows of what can be read is not to be asked about.
		c.PassThrough, c.PassThroughDial = tls.ask, p.join(tls.asked, p.static(&t))
	}
	c.RawAsk = c.TCP.Action == hooks.Ask && c.TCP.Rule != nil && !http && !https && tls.allow == nil
	return c
}

// possible says whether some request of the protocol could be allowed, and
// whether a rule would do so without a question.
func (p *Policy) possible(r *hooks.Request) (some, byRule bool) {
	s := search{p: p, mode: foresee}
	s.c.r = r
	p.idx.visit(&r.Target, &s)
	if s.deny != nil {
		return false, false
	}
	return s.allow != nil || p.act != hooks.Allow && s.ask != nil || p.asksByDefault(&r.Target) || p.act == hooks.Allow && r.Target.Host != HostInternal, s.allow != nil
}

// rulesFor returns the rules about a target's name or address, in the order of
// the policy.
func (p *Policy) rulesFor(t *hooks.Target) []*Rule {
	s := search{p: p, mode: collect}
	s.c.r = &hooks.Request{Target: *t}
	p.idx.visit(t, &s)
	slices.SortFunc(s.all, func(a, b *Rule) int { return a.index - b.index })
	return s.all
}

// Host returns the static address of a canonical name, from egress.hosts or
// --add-host. Its author named this address for this name, so the Dial of a
// verdict about that name includes it: it needs no entry in addresses.
func (p *Policy) Host(name string) (netip.Addr, bool) {
	a, ok := p.idx.hosts[name]
	return a, ok
}

// Default returns the effective default.
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
