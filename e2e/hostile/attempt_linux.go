package hostile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// attempt is one attack. Its number is its place in the list.
type attempt struct {
	category, name string
	do             []string // an act of the tool and its arguments; see expand
	// arrived says what of the attempt arrived outside, "" for nothing; nil is
	// byCanary.
	arrived func(s *scene, a *aim) string
	control control
	twin    []string // for control twin: what is done instead; nil is do
	names   []string // further names that lead to the attempt's address
	answers []string // addresses that {c}.rebind.example has, in turn
	env     []string
	// alone is an attempt with sessions of its own. It returns what arrived and
	// what was seen, and runs its own control.
	alone func(t *testing.T, o caller) (arrived, seen string)
	// outside is one whose aim is penstock outside of the pen, which no tier changes:
	// it is tried in one.
	outside bool
}

// control is how an attempt is shown to be able to arrive.
type control struct {
	kind kind
	why  string // for none
}

type kind uint8

const (
	bare     kind = iota // the same act without a pen arrives
	bareRoot             // without a pen and as root
	optional             // without a pen, if this kernel can do it at all
	twin                 // the act aimed at what the policy allows arrives
	own                  // a control of the attempt's own
	none
)

func without(why string) control { return control{none, why} }

func (c control) String() string {
	switch c.kind {
	case bare:
		return "arrives without a pen"
	case bareRoot:
		return "arrives without a pen, as root"
	case optional:
		return "arrives without a pen, where the kernel has it"
	case twin:
		return "arrives where the policy allows"
	case own:
		return "own"
	}
	return "none: " + c.why
}

// aim is an attempt, or its twin, with its targets: each has its own, so that
// what arrives can be told apart.
type aim struct {
	*attempt
	n    int
	id   string // in names, paths, payloads
	addr netip.Addr
	six  netip.Addr
	own  string // its name
}

func aimOf(a *attempt, n int, isTwin bool) *aim {
	m := &aim{attempt: a, n: n, id: fmt.Sprintf("q%03dx", n)}
	m.addr = netip.AddrFrom4([4]byte{198, 51, byte(100 + 2*(n/250)), byte(n%250 + 1)})
	m.six = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x77, 14: byte(1 + n/250), 15: byte(n%250 + 1)})
	m.own = m.id + ".evil.example"
	if isTwin {
		m.id = fmt.Sprintf("t%03dx", n)
		m.addr = netip.AddrFrom4([4]byte{198, 51, byte(101 + 2*(n/250)), byte(n%250 + 1)})
		m.own = m.id + ".good.example"
	}
	return m
}

// expand fills in targets.
func (m *aim) expand(s *scene, args []string) []string {
	r := strings.NewReplacer("{c}", m.id, "{name}", m.own, "{addr}", m.addr.String(), "{addr6}", m.six.String(),
		"{proxy}", "127.0.0.1:808", "{home}", s.home.Path, "{project}", s.home.Project, "{port}", s.hostPort, "{open}", s.openPort, "{rig}", s.rig,
		"{hexaddr}", fmt.Sprintf("c633:%02x%02x", m.addr.As4()[2], m.addr.As4()[3]), "{arpa}", fmt.Sprintf("%d.%d.51.198.in-addr.arpa", m.addr.As4()[3], m.addr.As4()[2]), "{shm}", fmt.Sprint(s.shm), "{victim}", fmt.Sprint(s.victims[m.n]))
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = r.Replace(a)
	}
	return out
}

// byCanary is the usual score: nothing that bears the attempt's mark, and
// nothing for its addresses.
func byCanary(s *scene, a *aim) string {
	if got := s.net.with(a.id); got != "" {
		return got
	}
	if got := byHost(s, a); got != "" {
		return got
	}
	for _, q := range s.queries {
		if strings.Contains(q.Name, a.id) {
			return fmt.Sprintf("DNS question %s %s", q.Type, q.Name)
		}
	}
	for _, p := range s.packets {
		if to := p.To.Addr().Unmap(); to == a.addr || to == a.six || strings.Contains(string(p.Payload), a.id) {
			return "packet " + p.Protocol + " to " + p.To.String()
		}
	}
	return ""
}

// byHost counts what arrived at the host itself.
func byHost(s *scene, a *aim) string {
	if got := s.host.with(a.id); got != "" {
		return "host: " + got
	}
	return ""
}

// byRequest counts only what a server took for a request: the bytes may pass as
// a body.
func byRequest(s *scene, a *aim) string {
	return s.net.request(func(q request) bool { return strings.Contains(q.host+q.path, a.id) })
}

// byPath counts requests that a server could read as outside of /ok.
func byPath(s *scene, a *aim) string {
	return s.net.request(func(q request) bool {
		p := loosePath(q.path)
		return strings.Contains(p, a.id) && p != "/ok" && !strings.HasPrefix(p, "/ok/")
	})
}

// packetTo counts packets for an address, whatever is in them.
func packetTo(addr string) func(*scene, *aim) string {
	return func(s *scene, a *aim) string {
		for _, p := range s.packets {
			if p.To.Addr().String() == addr {
				return "packet " + p.Protocol + " to " + p.To.String()
			}
		}
		return byCanary(s, a)
	}
}

// byAnswer counts packets for an address and what arrived at the host; the
// question itself is allowed.
func byAnswer(addr string) func(*scene, *aim) string {
	to := netip.MustParseAddr(addr).Unmap()
	return func(s *scene, a *aim) string {
		for _, p := range s.packets {
			if p.To.Addr().Unmap() == to {
				return "packet " + p.Protocol + " to " + p.To.String()
			}
		}
		if got := s.net.with(a.id); got != "" {
			return got
		}
		return byHost(s, a)
	}
}

// byLoot counts what the tool's report brought out of the host: text is
// something that only the host has.
func byLoot(texts ...string) func(*scene, *aim) string {
	return func(s *scene, a *aim) string {
		for _, text := range texts {
			if i := strings.Index(s.report[a.id], text); i >= 0 {
				return fmt.Sprintf("report has %q", s.report[a.id][i:min(len(s.report[a.id]), i+40)])
			}
		}
		return ""
	}
}

// byGot counts what no pen gives, even if nothing can be sent with it.
func byGot(s *scene, a *aim) string {
	if got := byCanary(s, a); got != "" {
		return got
	}
	return byLoot("GOT ")(s, a)
}

// byFile counts the mark in any file of the host that the pen may not change,
// and set-id bits and devices anywhere.
func byFile(s *scene, a *aim) string { return s.changed(a.id) }

// byVictim counts a process of the host that did not survive.
func byVictim(s *scene, a *aim) string {
	if !s.alive(s.victims[a.n]) {
		return "a process of the host was killed"
	}
	return byLoot("GOT ", hostSecret)(s, a)
}
