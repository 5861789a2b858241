package policy

import (
	"fmt"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Explanation says why a request is decided as it is, and what would change it.
type Explanation struct {
	Request string `json:"request"` // e.g. "GET https://api.example.com:443/v1"
	Action  string `json:"action"`
	Rule    string `json:"rule,omitempty"`  // file:line of what decided; "" for the default
	Text    string `json:"text,omitempty"`  // that rule in YAML
	Layer   string `json:"layer,omitempty"` // whose rule it is
	Reason  string `json:"reason"`
	Via     string `json:"via,omitempty"` // upstream by which it would be reached; "" directly
	// Among are what that one's PAC file chooses among.
	Among []string `json:"among,omitempty"`
	// Undecided says why the condition of the rule that denies can't be decided.
	Undecided string `json:"undecided,omitempty"`
	Hook      bool   `json:"hook,omitempty"` // a hook denies, or asks about, what the rules allow
	// Hooks are those that would be asked, unless it is denied.
	Hooks []Asked `json:"hooks,omitempty"`
	// Near are allow rules about the same host that do not match, and why.
	Near []Near `json:"near,omitempty"`
	// Also are further rules that match, of the same kind.
	Also []Near `json:"also,omitempty"`
	// Body are rules that allow it if its body is what they say. Action is "depends"
	// then, unless it is allowed without them.
	Body []Near `json:"body,omitempty"`
	// Change is what would turn the verdict, in order of preference.
	Change []Change `json:"change,omitempty"`
}

// Depends is the Action of an Explanation when the request's body decides.
const Depends = "depends"

// Near is a rule with a remark.
type Near struct {
	Rule string `json:"rule"` // file:line
	Text string `json:"text"`
	Why  string `json:"why,omitempty"`
}

// Change is one way to turn a verdict.
type Change struct {
	What string `json:"what"`           // in words
	YAML string `json:"yaml,omitempty"` // a rule for egress.allow or egress.deny
	Flag string `json:"flag,omitempty"` // for penstock run
}

// Explain decides a request and says why. It is not for the hot path.
func (p *Policy) Explain(r *hooks.Request) Explanation {
	v := p.Decide(r)
	e := Explanation{Request: describe(r), Action: v.Action.String(), Reason: v.Reason}
	if v.Rule != nil {
		e.Rule, e.Text, e.Layer = v.Rule.Ref(), v.Rule.Text, v.Rule.Layer.String()
	}
	if unfit(r) != "" {
		return e
	}
	if v.Pin != nil && v.Action == hooks.Allow {
		e.Reason += ", with secret " + v.Pin.Secret + " as its only credential (pin)"
	}
	if u := p.Route(&r.Target); u != nil {
		e.Via, e.Among = u.Name, u.Among
	}
	for _, rule := range v.Bodies {
		if v.Action == hooks.Deny {
			e.Action = Depends
		}
		e.Body = append(e.Body, Near{Rule: rule.Ref(), Text: rule.Text})
	}
	if e.Action != hooks.Deny.String() {
		e.Hooks = p.AskedAbout(r)
	}
	c := cursor{r: r}
	if v.Rule != nil {
		e.Undecided = v.Rule.undecided(&c)
	}
	for _, rule := range p.rulesFor(&r.Target) {
		n := Near{Rule: rule.Ref(), Text: rule.Text}
		switch why := mismatch(rule, &c); {
		case why == "" && rule != v.Rule && (rule.list() == v.Action.String() || v.Rule != nil && rule.list() == v.Rule.list()):
			e.Also = append(e.Also, n)
		case why != "" && !rule.Deny && (v.Rule == nil || v.Rule.Ask):
			n.Why = why
			e.Near = append(e.Near, n)
		}
	}
	e.Change = p.changes(r, v, &e)
	return e
}

// changes says what would turn a verdict.
func (p *Policy) changes(r *hooks.Request, v Verdict, e *Explanation) []Change {
	switch {
	case v.Action == hooks.Allow && v.Rule != nil:
		what := "remove or narrow the rule at " + v.Rule.Ref()
		if len(e.Also) > 0 {
			what += fmt.Sprintf(" and the %d others that allow it", len(e.Also))
		}
		return []Change{
			{What: "deny it (a deny wins over every allow)", YAML: suggestion(r, true).Text, Flag: "--deny " + shell(flagTarget(r, true))},
			{What: what},
		}
	case v.Action == hooks.Allow:
		return []Change{{What: "deny it, or set default: deny", YAML: suggestion(r, true).Text, Flag: "--deny " + shell(flagTarget(r, true))}}
	case v.Action == hooks.Ask:
		allow, deny := p.Approval(r, v).Rule, suggestion(r, true)
		return []Change{
			{What: "allow it without a question", YAML: allow.Text},
			{What: "allow more, without a question", YAML: suggestion(r, false).Text, Flag: "--allow " + shell(flagTarget(r, false))},
			{What: "deny it without a question", YAML: deny.Text, Flag: "--deny " + shell(flagTarget(r, true))},
		}
	case p.unaskable(r) != "" && (v.Rule == nil && p.asksByDefault(&r.Target) || v.Rule != nil && v.Rule.Ask):
		return []Change{{What: "ask who set the limit: " + p.unaskable(r)}}
	case v.Rule != nil:
		what := "remove or narrow the rule at " + v.Rule.Ref() + ": a deny wins over every allow"
		if v.Rule.Layer == System {
			what += "; it is the administrator's"
		}
		if len(e.Also) > 0 {
			what += fmt.Sprintf("; %d more rules deny it", len(e.Also))
		}
		return []Change{{What: what}}
	}
	return []Change{{What: "allow it", YAML: suggestion(r, false).Text, Flag: "--allow " + shell(flagTarget(r, false))}}
}

// suggestion is the narrowest rule by host and port that would turn a verdict.
func suggestion(r *hooks.Request, deny bool) *Rule {
	t := r.Target
	n := &Rule{Deny: deny}
	if t.Host == "" {
		n.cidr, _ = t.Addr.Prefix(t.Addr.BitLen())
	} else {
		n.host.name = t.Host
	}
	web := r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS
	if !deny {
		if !web {
			n.protocol = protocolBit(r.Protocol)
		}
		usual := r.Protocol == hooks.ProtocolHTTP && t.Port == 80 ||
			(r.Protocol == hooks.ProtocolHTTPS || r.Protocol == hooks.ProtocolTLS) && t.Port == 443
		if !usual || t.Host == HostInternal {
			n.ports = []portRange{{t.Port, t.Port}}
		}
	}
	n.Text = ruleText(n)
	return n
}

// flagTarget writes the suggestion as a flag's value.
func flagTarget(r *hooks.Request, deny bool) string {
	n := suggestion(r, deny)
	s := n.host.name
	if n.cidr.IsValid() {
		s = n.cidr.Addr().String()
		if n.cidr.Addr().Is6() && n.ports != nil {
			s = "[" + s + "]"
		}
	}
	if n.ports != nil {
		s += ":" + n.ports[0].String()
	}
	if n.protocol != 0 {
		s = protocolText(n.protocol) + "://" + s
	}
	return s
}

// shell quotes a flag's value for sh where it must be.
func shell(s string) string {
	if strings.ContainsAny(s, "*[]?") {
		return "'" + s + "'"
	}
	return s
}

// describe writes a request for a person.
func describe(r *hooks.Request) string {
	s := r.Protocol.String() + "://" + printable(r.Target.String())
	if r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS {
		path := r.Path
		if len(path) > 200 {
			path = path[:200] + "..."
		}
		s = printable(r.Method) + " " + s + printable(path)
	}
	return s
}

// mismatch says why a rule about the request's host does not match the request,
// "" if it does.
func mismatch(rule *Rule, c *cursor) string {
	proto, port := c.r.Protocol, c.r.Target.Port
	bits := rule.covers()
	if rule.Deny {
		bits = rule.denies()
	}
	switch {
	case bits&protocolBit(proto) == 0:
		return "it is about " + protocolText(bits&^implied(rule)) + ", not " + proto.String()
	case !rule.matchFlow(proto, port):
		if rule.ports == nil {
			return "it is about the usual ports (https 443, http 80), not " + utoa(port)
		}
		var list []string
		for _, p := range rule.ports {
			list = append(list, strings.Trim(p.String(), `"`))
		}
		return "it is about port " + strings.Join(list, ", ") + ", not " + utoa(port)
	case !rule.matchProcess(c.r.Process):
		return processWhy(rule.process, c.r.Process)
	case rule.matchRequest(c):
		return ""
	case !rule.matchMethod(c.r.Method):
		return "it is about " + strings.Join(rule.methods, ", ") + ", not " + c.r.Method
	case rule.matchPaths(c) && (rule.when == nil || rule.matchWhen(c)):
		return "it is about " + rule.speech.key() + ": " + rule.speechWhy(c)
	case rule.matchPaths(c):
		if why := rule.undecided(c); why != "" {
			return "its when can't be decided: " + why
		}
		return "its when is false"
	}
	var list []string
	for _, p := range rule.paths {
		list = append(list, quoteYAML(p.text))
	}
	why := "it is about paths " + strings.Join(list, ", ")
	if c.n > 1 {
		why += ", and this path can be read in several ways"
	}
	return why
}

// implied are the protocols that a rule covers without naming them.
func implied(r *Rule) protocols {
	if r.protocol == 0 {
		return 0
	}
	return ^r.protocol
}

// denyReason says which rule denies a request.
func denyReason(rule *Rule, r *hooks.Request) string {
	if !rule.Deny {
		return pinReason(rule, r)
	}
	s := "denied by " + rule.Ref() + " " + rule.Text
	if rule.conditional() && r.Protocol != hooks.ProtocolHTTP && r.Protocol != hooks.ProtocolHTTPS {
		s += ", which looks at " + looksAt(rule) + ": they can't be seen in " + r.Protocol.String() + "; give it ports if it is not about this one"
	}
	if why := rule.undecided(&cursor{r: r}); why != "" {
		s += ", whose when can't be decided: " + why
	}
	if w := rule.process; w != nil && !certain(r.Process) {
		s += ", which is about a process: who opened the connection is not known"
	}
	return s
}

// looksAt names what of a request a rule is about.
func looksAt(rule *Rule) string {
	if rule.methods == nil && rule.paths == nil {
		return "requests"
	}
	return "methods or paths"
}

// maxNear bounds the work for one reason.
const maxNear = 64

// defaultReason says that nothing allows a request, what comes nearest, and the
// flag that would allow it.
func (p *Policy) defaultReason(r *hooks.Request) string {
	s := "no rule allows " + r.Protocol.String() + " to " + r.Target.String()
	c := cursor{r: r}
	n := 0
	for _, rule := range p.rulesFor(&r.Target) {
		if n++; n > maxNear {
			break
		}
		if rule.Deny {
			continue
		}
		if why := mismatch(rule, &c); why != "" {
			s += "; " + rule.Ref() + " does not match: " + why
			break
		}
	}
	return s + "; to allow it: --allow " + shell(flagTarget(r, false))
}
