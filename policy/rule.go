package policy

import (
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// protocols is a set of hooks.Protocol.
type protocols uint8

func protocolBit(p hooks.Protocol) protocols { return 1 << p }

const (
	bitHTTP  = protocols(1 << hooks.ProtocolHTTP)
	bitHTTPS = protocols(1 << hooks.ProtocolHTTPS)
	bitTLS   = protocols(1 << hooks.ProtocolTLS)
	bitTCP   = protocols(1 << hooks.ProtocolTCP)
	bitsWeb  = bitHTTP | bitHTTPS
	bitsAll  = bitHTTP | bitHTTPS | bitTLS | bitTCP
)

// portRange is both ends included.
type portRange struct{ from, to uint16 }

// Rule is one entry of egress.allow, egress.ask or egress.deny. It is immutable.
type Rule struct {
	Source
	Deny bool
	Ask  bool   // matches as an allow does; a person is asked before anything leaves
	Text string // the rule on one line of YAML, canonical; safe for a terminal
	Dial *Dial  // nil: public addresses only

	index    int          // in the policy; lower layers and later lines are greater
	host     hostPattern  // zero when cidr is valid
	cidr     netip.Prefix // valid: literal addresses
	protocol protocols    // as written; 0: not written
	ports    []portRange  // nil: the protocols' own ports (allow), any port (deny)
	methods  []string     // nil: any
	paths    []pathPattern
	address  []netip.Prefix  // addresses: as written
	process  *processPattern // nil: any
	pin      *Pin            // nil: any credential
	budget   *Budget         // nil: any amount
	capture  *Capture        // nil: nothing is kept
	when     *condition      // nil: none
	git      *Git
	grpc     *GRPC
	jsonrpc  *JSONRPC
	graphql  *GraphQL
	registry *Registry
	speech   speech // that one of these that is there; nil: any
	looks    bool   // the rule looks at requests: any of methods, paths, when and speech is there
	via      string // an upstream or direct; "": as egress.via says
}

// Dial is what addresses a rule's names may resolve to beside public ones.
type Dial struct {
	ID        int // small, equal for equal profiles of one policy; 0 is never used
	Addresses []netip.Prefix
}

// Inspects says whether requests that the rule is about are read: false for
// inspect: false and for raw TCP.
func (r *Rule) Inspects() bool { return r.covers()&(bitTLS|bitTCP) == 0 }

// about returns the host pattern or range as written.
func (r *Rule) about() string {
	if r.cidr.IsValid() {
		return r.cidr.String()
	}
	return r.host.String()
}

// list is the list of egress that the rule stands in.
func (r *Rule) list() string {
	switch {
	case r.Deny:
		return "deny"
	case r.Ask:
		return "ask"
	}
	return "allow"
}

// covers returns the protocols that the rule decides about when it is no deny:
// raw TCP may carry anything and TLS unread may carry HTTPS, so whoever allows
// the outer allows the inner.
func (r *Rule) covers() protocols {
	p := r.protocol
	if p == 0 {
		p = bitsWeb
	}
	if p&bitTCP != 0 {
		p |= bitsAll
	}
	if p&bitTLS != 0 {
		p |= bitHTTPS
	}
	return p
}

// denies returns the protocols that the rule decides about when it is a deny:
// who denies the inner denies the outer, that could hide it.
func (r *Rule) denies() protocols {
	p := r.protocol
	if p == 0 {
		return bitsAll
	}
	if p&bitsWeb != 0 {
		p |= bitTCP
	}
	if p&bitHTTPS != 0 {
		p |= bitTLS
	}
	if p&bitTLS != 0 {
		p |= bitTCP
	}
	return p
}

// matchHost says whether the rule is about the target's name or address. The
// target is canonical.
func (r *Rule) matchHost(t *hooks.Target) bool {
	if r.cidr.IsValid() {
		return t.Host == "" && r.cidr.Contains(t.Addr)
	}
	if t.Host == "" {
		// Addresses are judged by cidr. But a deny of "*" is a deny of everything.
		return r.Deny && r.host.wild && r.host.name == ""
	}
	if r.Deny && r.host.wild && t.Host == HostInternal {
		return r.host.name == "" || r.host.name == "internal" || r.host.name == "penstock.internal"
	}
	return r.host.matches(t.Host)
}

// matchFlow says whether the rule is about this protocol at this port.
func (r *Rule) matchFlow(p hooks.Protocol, port uint16) bool {
	bit := protocolBit(p)
	if r.Deny {
		return r.denies()&bit != 0 && (r.ports == nil || inPorts(r.ports, port))
	}
	if r.covers()&bit == 0 {
		return false
	}
	if r.ports != nil {
		return inPorts(r.ports, port)
	}
	// Raw TCP always has ports, see the parser.
	if p == hooks.ProtocolHTTP {
		return port == 80
	}
	return port == 443
}

func inPorts(ports []portRange, port uint16) bool {
	for _, r := range ports {
		if r.from <= port && port <= r.to {
			return true
		}
	}
	return false
}

// conditional says whether the rule looks at more than host, port and protocol.
func (r *Rule) conditional() bool { return r.looks }

// unseen names the first key of a rule that looks at requests, "" if none does.
func (r *Rule) unseen() string {
	switch {
	case r.paths != nil:
		return "paths"
	case r.methods != nil:
		return "methods"
	case r.when != nil:
		return "when"
	case r.speech != nil:
		return r.speech.key()
	}
	return ""
}

// matchRequest says whether the rule's methods, paths and condition match. c is
// the request's, with the readings of its path made at the first use.
func (r *Rule) matchRequest(c *cursor) bool {
	if !r.conditional() {
		return true
	}
	if !c.web() {
		// Not to be seen: so a deny matches and an allow does not. The parser
		// refuses such allows.
		return r.Deny
	}
	return r.matchMethod(c.r.Method) && r.matchPaths(c) && (r.when == nil || r.matchWhen(c)) && (r.speech == nil || r.matchSpeech(c))
}

func (r *Rule) matchMethod(m string) bool {
	if r.methods == nil {
		return true
	}
	for _, x := range r.methods {
		if x == m {
			return true
		}
	}
	return false
}

func (r *Rule) matchPaths(c *cursor) bool {
	if r.paths == nil {
		return true
	}
	c.read()
	for i := 0; i < c.n; i++ {
		one := false
		for j := range r.paths {
			if matchPath(r.paths[j].form, c.readings[i]) {
				one = true
				break
			}
		}
		// An allow needs all readings, a deny needs one.
		if one == r.Deny {
			return one
		}
	}
	return !r.Deny
}

// cursor is a request on its way through the rules.
type cursor struct {
	r        *hooks.Request
	n        int // readings made; 0: not yet
	readings [maxReadings]string
}

// read makes the readings of the request's path.
func (c *cursor) read() {
	if c.n == 0 {
		c.n = readings(c.r.Path, &c.readings)
	}
}

// web says whether there is a request to look at.
func (c *cursor) web() bool {
	return c.r.Protocol == hooks.ProtocolHTTP || c.r.Protocol == hooks.ProtocolHTTPS
}
