package policy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/penstock/penstock/hooks"
)

// How long a person is waited for.
const (
	DefaultAskTime = time.Minute
	minAskTime     = time.Second
	maxAskTime     = time.Hour
)

func validAskTime(d time.Duration) bool { return minAskTime <= d && d <= maxAskTime }

// AskTime is how long what is asked about waits for an answer.
func (p *Policy) AskTime() time.Duration {
	if p.d.AskTimeout.Set {
		return p.d.AskTimeout.V
	}
	return DefaultAskTime
}

// asksByDefault says whether default: ask is about a target that no rule is about.
// The host's own and private addresses are opened by rules only: who answers a
// question can't see what stands behind a number.
func (p *Policy) asksByDefault(t *hooks.Target) bool {
	return p.act == hooks.Ask && t.Host != HostInternal && (t.Host != "" || !isSpecial(netip.PrefixFrom(t.Addr, t.Addr.BitLen())))
}

// asking is the verdict about what a person is to be asked about: an answer can
// allow no more than a rule of the command line could.
func (p *Policy) asking(s *search) Verdict {
	r := s.c.r
	if why := p.unaskable(r); why != "" {
		return Verdict{Rule: s.ask, Reason: "no rule allows " + r.Protocol.String() + " to " + r.Target.String() + ", and nobody is asked: " + why, Pin: s.pin, Budgets: s.budgets, Capture: s.capture}
	}
	by := "default: ask"
	if s.ask != nil {
		by = s.ask.Ref() + " " + s.ask.Text
	}
	return Verdict{Action: hooks.Ask, Rule: s.ask, Pin: s.pin, Budgets: s.budgets, Capture: s.capture, Dial: p.join(s.asked, p.static(&r.Target)),
		Reason: "nobody has approved " + r.Protocol.String() + " to " + r.Target.String() + " (" + by + "); to allow it without a question: --allow " + shell(flagTarget(r, false))}
}

// unaskable says which limit a request lies outside of, "" if of none.
func (p *Policy) unaskable(r *hooks.Request) string {
	l, t := &p.may, &r.Target
	outside := func(key string, from Source) string {
		return "it is outside limits." + key + " at " + from.Ref() + " (" + from.Layer.String() + ")"
	}
	if l.Egress.Set && !slices.ContainsFunc(l.Egress.V, func(x LimitPattern) bool {
		if t.Host == "" {
			return x.cidr.IsValid() && x.cidr.Contains(t.Addr)
		}
		return !x.cidr.IsValid() && x.host.matches(t.Host)
	}) {
		return outside("egress", l.Egress.From)
	}
	if l.Protocols.Set && !slices.Contains(l.Protocols.V, r.Protocol.String()) {
		return outside("protocols", l.Protocols.From)
	}
	if l.Via.Set && t.Host != HostInternal {
		way := Direct
		if u := p.Route(t); u != nil {
			way = u.Name
		}
		if !slices.Contains(l.Via.V, way) {
			return outside("via", l.Via.From)
		}
	}
	return ""
}

// readers are the methods that a person who approves one of them approves
// together: they ask for something and change nothing.
func readers() []string { return []string{"GET", "HEAD", "OPTIONS"} }

// Approval is what a person says yes to.
type Approval struct {
	// Rule is the allow rule that would say the same, and never more: for the
	// target, port and protocol, and where only reading was asked for, for methods
	// that read.
	Rule *Rule
	// Deny is the deny rule for the target.
	Deny *Rule
	// Writes says that methods other than GET, HEAD and OPTIONS are in it.
	Writes bool
	// Warnings say what is remarkable about the rule.
	Warnings []string
}

// Approval returns what an approval of a request is, of which v says Ask.
func (p *Policy) Approval(r *hooks.Request, v Verdict) Approval {
	n := suggestion(r, false)
	a := Approval{Rule: n, Deny: suggestion(r, true)}
	n.protocol = protocolBit(r.Protocol)
	if n.protocol&bitsWeb != 0 {
		if a.Writes = !slices.Contains(readers(), r.Method); !a.Writes {
			n.methods = readers()
		}
	}
	if by := v.Rule; by != nil {
		n.paths, n.process, n.when, n.address, n.via = by.paths, by.process, by.when, by.address, by.via
		switch {
		case by.methods == nil:
		case n.methods == nil:
			n.methods = by.methods
		default:
			n.methods = slices.DeleteFunc(readers(), func(m string) bool { return !slices.Contains(by.methods, m) })
		}
	}
	n.Text = ruleText(n)
	n.looks = n.unseen() != ""
	n.Dial = dialOf(n)
	a.Warnings = looseRule(n)
	return a
}

// Unasked says what becomes of the question of hooks, by their names, to a person. In
// audit mode nobody is asked: pass says that the request goes on, but not against the
// word of a layer that the mode's can't undo. why says why it is denied without a
// question; with neither a person is asked. An answer is no more than what a rule
// allows anyway.
func (p *Policy) Unasked(names []string, audit bool) (pass bool, why string) {
	if l := p.may.Modes; l.Set && !slices.Contains(l.V, string(asking)) {
		return false, "nobody is asked: that is outside limits.modes at " + l.From.Ref() + " (" + l.From.Layer.String() + ")"
	}
	if !audit {
		return false, ""
	}
	for _, name := range names {
		i := slices.IndexFunc(p.d.Hooks, func(h Hook) bool { return h.Name == name })
		if i < 0 {
			return false, "audit mode asks nobody"
		}
		layer := p.d.Hooks[i].From.Layer
		if p.d.Mode.V == string(Audit) && layer == System || p.d.Mode.V != string(Audit) && layer < p.d.Default.From.Layer {
			return false, "audit mode asks nobody, and does not undo what hook " + name + " says (" + layer.String() + ")"
		}
	}
	return true, ""
}

// ParseApproval reads the text of a rule of an Approval, which must be about
// nothing but the target.
func ParseApproval(s string, t hooks.Target, deny bool) (*Rule, error) {
	list := "allow"
	if deny {
		list = "deny"
	}
	f, err := Parse("the answer", User, []byte("version: 1\negress: {"+list+": ["+s+"]}\n"))
	if err != nil {
		return nil, err
	}
	var errs ErrorList
	if len(f.rules) != 1 || !f.rules[0].only(t) || f.rules[0].Deny != deny || f.rules[0].Text != s {
		errs.add(Source{File: "the answer"}, "", "%s is not a rule about %s alone", printable(s), printable(t.String()))
		return nil, errs.err()
	}
	return f.rules[0], nil
}

// only says whether the rule is about one target: a deny may be about all ports.
func (r *Rule) only(t hooks.Target) bool {
	if t.Host != "" && (r.cidr.IsValid() || r.host.wild || r.host.name != t.Host) {
		return false
	}
	if t.Host == "" && (!r.cidr.IsValid() || !r.cidr.IsSingleIP() || r.cidr.Addr() != t.Addr) {
		return false
	}
	switch {
	case r.Deny:
		return true
	case r.ports != nil:
		return len(r.ports) == 1 && r.ports[0] == portRange{t.Port, t.Port}
	}
	return t.Port == 80 && r.protocol == bitHTTP || t.Port == 443 && (r.protocol == bitHTTPS || r.protocol == bitTLS)
}
