package policy

import (
	"github.com/penstock/penstock/hooks"
)

// Named says whether the policy lets anything go to a canonical name: by some protocol
// to some port, for some process, perhaps when a person has said yes. rule is the first
// by which it does, nil for the default. Names at which everything is denied are nobody
// else's business. It is not for the hot path.
func (p *Policy) Named(host string) (rule *Rule, ok bool) {
	t := hooks.Target{Host: host}
	if !isCanonicalHost(host) {
		return nil, false
	}
	list := p.rulesFor(&t)
	n := naming{p: p, host: host}
	for _, r := range list {
		if r.Deny && r.process == nil {
			n.deny = append(n.deny, r)
		}
	}
	for _, r := range list {
		if r.Deny || r.Ask && p.act == hooks.Allow {
			continue
		}
		for _, proto := range carried() {
			if r.covers()&protocolBit(proto) != 0 && n.open(proto, r.portsOf(proto), r.Ask) {
				return r, true
			}
		}
	}
	asks := p.asksByDefault(&t)
	if !asks && (p.act != hooks.Allow || host == HostInternal) {
		return nil, false
	}
	for _, proto := range carried() {
		if n.open(proto, []portRange{{1, 65535}}, asks) {
			return nil, true
		}
	}
	return nil, false
}

// carried are the protocols that can be allowed.
func carried() []hooks.Protocol {
	return []hooks.Protocol{hooks.ProtocolHTTPS, hooks.ProtocolHTTP, hooks.ProtocolTLS, hooks.ProtocolTCP}
}

// portsOf are the ports at which a rule that is no deny is about a protocol, see
// matchFlow.
func (r *Rule) portsOf(p hooks.Protocol) []portRange {
	switch {
	case r.ports != nil:
		return r.ports
	case p == hooks.ProtocolHTTP:
		return []portRange{{80, 80}}
	}
	return []portRange{{443, 443}}
}

// naming looks for what is open at a name.
type naming struct {
	p    *Policy
	host string
	deny []*Rule // about the name, for every process
}

// open says whether one of the ports is denied by no rule. It looks at the first of each
// range, and at those behind what rules deny: if these are denied, all are.
func (n *naming) open(proto hooks.Protocol, ports []portRange, ask bool) bool {
	for _, r := range ports {
		if n.passes(proto, r.from, ask) {
			return true
		}
		for _, d := range n.deny {
			for _, not := range d.ports {
				if not.to >= r.from && not.to < r.to && n.passes(proto, not.to+1, ask) {
					return true
				}
			}
		}
	}
	return false
}

// passes says whether some request to a port is not denied. What is not read is denied
// also by rules that look at requests.
func (n *naming) passes(proto hooks.Protocol, port uint16, ask bool) bool {
	web := protocolBit(proto)&bitsWeb != 0
	for _, d := range n.deny {
		if (!web || !d.conditional()) && d.matchFlow(proto, port) {
			return false
		}
	}
	return !ask || n.p.unaskable(&hooks.Request{Protocol: proto, Target: hooks.Target{Host: n.host, Port: port}}) == ""
}
