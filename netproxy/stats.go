package netproxy

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// maxCounts bounds the kinds of flows that are counted apart: a tool chooses
// the names.
const maxCounts = 4096

// Count is the number of flows to one target with one outcome.
type Count struct {
	Target  hooks.Target
	Verdict hooks.Action
	Rule    string // "file:line", "" for the default
	Reason  string // of the first of them
	// Protocol, Method and Path are of the first of them.
	Protocol     hooks.Protocol
	Method, Path string
	N            uint64
}

// Stats sums up what a Proxy did.
type Stats struct {
	Allowed, Denied uint64
	Violations      uint64
	Overload        uint64        // connections refused because there were too many
	Pinned          []string      // hosts whose clients do not accept our certificate
	Hooks           []chain.Stats // of the present policy
	// Counts has the most frequent first; what did not fit is only in the sums.
	Counts []Count
}

type countKey struct {
	target  hooks.Target
	verdict hooks.Action
	rule    string
}

type stats struct {
	allowed, denied, violations, overloaded atomic.Uint64

	mu     sync.Mutex
	counts map[countKey]*Count
	pins   map[string]struct{}
}

func (s *stats) count(f *flow) {
	if f.open.Verdict == hooks.Allow {
		s.allowed.Add(1)
	} else {
		s.denied.Add(1)
	}
	k := countKey{f.req.Target, f.open.Verdict, f.open.Rule}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[k]
	if c == nil {
		if len(s.counts) >= maxCounts {
			return
		}
		if s.counts == nil {
			s.counts = make(map[countKey]*Count)
		}
		c = &Count{Target: k.target, Verdict: k.verdict, Rule: k.rule, Reason: f.open.Reason,
			Protocol: f.req.Protocol, Method: f.req.Method, Path: f.req.Path}
		s.counts[k] = c
	}
	c.N++
}

func (s *stats) violation() { s.violations.Add(1) }
func (s *stats) overload()  { s.overloaded.Add(1) }

// pinned remembers a host once.
func (s *stats) pinned(host string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pins[host]; ok || len(s.pins) >= 64 {
		return false
	}
	if s.pins == nil {
		s.pins = make(map[string]struct{})
	}
	s.pins[host] = struct{}{}
	return true
}

// Stats returns the sums so far.
func (p *Proxy) Stats() Stats {
	s := &p.stats
	out := Stats{Allowed: s.allowed.Load(), Denied: s.denied.Load(), Violations: s.violations.Load(), Overload: s.overloaded.Load(), Hooks: p.rules.Load().hooks.Stats()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.pins {
		out.Pinned = append(out.Pinned, h)
	}
	for _, c := range s.counts {
		out.Counts = append(out.Counts, *c)
	}
	slices.Sort(out.Pinned)
	slices.SortFunc(out.Counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Target.String(), b.Target.String()), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}
