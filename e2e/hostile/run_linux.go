package hostile

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// outcome is what became of one attempt.
type outcome struct {
	arrived  string // "" when held
	seen     string // what the tool saw
	control  string // what the control brought
	skipped  bool   // the kernel has nothing to try
	isTested bool
}

// every runs every attempt, of those that have sessions of their own the ones that mine
// names by their place, and returns also what batched does.
func every(t *testing.T, o caller, list []attempt, mine func(i int) bool) (map[string][]string, []outcome) {
	results := make([]outcome, len(list))
	said := batched(t, o, list, results)
	for i, a := range list {
		if a.alone == nil || a.outside && o.tier != "" || !mine(i) {
			continue
		}
		t.Run(fmt.Sprintf("%03d", i+1), func(t *testing.T) {
			results[i].arrived, results[i].seen = a.alone(t, o)
			if results[i].arrived != "" {
				t.Errorf("%s: %s: ARRIVED: %s", a.category, a.name, results[i].arrived)
			}
		})
	}
	return said, results
}

// batched runs all attempts that share a pen, with their twins, then the same
// without a pen. It returns what the audit has of them.
func batched(t *testing.T, o caller, list []attempt, results []outcome) (said map[string][]string) {
	root := os.Getuid() == 0 && !o.User
	var inside, outside []*aim
	for i := range list {
		a := &list[i]
		if a.alone != nil {
			continue
		}
		inside = append(inside, aimOf(a, i+1, false))
		switch a.control.kind {
		case bare, optional:
			outside = append(outside, aimOf(a, i+1, false))
		case bareRoot:
			if root {
				outside = append(outside, aimOf(a, i+1, false))
			}
		case twin:
			b := *a
			if a.twin != nil {
				b.do = a.twin
			}
			inside = append(inside, aimOf(&b, i+1, true))
		}
	}
	t.Run("pen", func(t *testing.T) {
		s := newScene(t, o)
		s.run(inside, true)
		if s.result.Code != 0 {
			t.Errorf("the session: %s", s.result)
		}
		s.ourOutput()
		expected := map[string]bool{}
		for _, m := range inside {
			expected[m.id] = true
			if _, ok := s.report[m.id]; !ok {
				t.Errorf("no report of %03d %s: was it tried at all?", m.n, m.name)
			}
			score := m.arrived
			if score == nil {
				score = byCanary
			}
			s.withoutOwn(m)
			got := score(s, m)
			r := &results[m.n-1]
			if strings.HasPrefix(m.id, "t") {
				if r.control = got; got == "" {
					t.Errorf("%03d %s: the control did not arrive; report: %s", m.n, m.name, s.report[m.id])
				}
				continue
			}
			r.seen, r.arrived, r.isTested = s.report[m.id], got, true
			if got != "" {
				t.Errorf("%03d %s: %s: ARRIVED: %s\nreport: %s", m.n, m.category, m.name, got, s.report[m.id])
			}
		}
		s.nothingElse()
		said = s.recorded()
	})
	if o.tier != "" {
		return said // without a pen there is no tier
	}
	t.Run("bare", func(t *testing.T) {
		s := newScene(t, o)
		s.run(outside, false)
		for _, m := range outside {
			score := m.arrived
			if score == nil {
				score = byCanary
			}
			r := &results[m.n-1]
			if r.control = score(s, m); r.control != "" {
				continue
			}
			if m.control.kind == optional {
				r.skipped = true
				continue
			}
			t.Errorf("%03d %s: the control did not arrive; report: %s", m.n, m.name, s.report[m.id])
		}
	})
	return said
}

// nothingElse holds the whole ledger against the policy: whatever no attempt
// claims must not be there either.
func (s *scene) nothingElse() {
	s.t.Helper()
	for _, p := range s.packets {
		a := p.To.Addr()
		if p.Protocol == "tcp" && a.Is4() && (strings.HasPrefix(a.String(), "198.51.101.") || strings.HasPrefix(a.String(), "198.51.103.")) {
			continue
		}
		if tooLate(p) {
			continue
		}
		s.t.Errorf("packet outside that no rule allows: %s", p)
	}
	for _, q := range s.queries {
		ok := false
		for _, name := range []string{"good.example", "loot.example", "paths.example", "raw.example", "pass.example", "secret.example"} {
			ok = ok || q.Name == name
		}
		if !ok && !strings.HasSuffix(q.Name, ".good.example") && !strings.HasSuffix(q.Name, ".rebind.example") || q.Name == "no.good.example" {
			s.t.Errorf("DNS question outside that no rule allows: %s %s", q.Type, q.Name)
		}
	}
}

// tooLate recognises the host's own refusal of a DNS answer that nobody waits
// for any more: the pen's part in it was to hang up.
func tooLate(p world.Packet) bool {
	return p.Protocol == "icmp" && p.From.Addr().String() == "192.0.2.2" && p.To.Addr().String() == "203.0.113.53"
}
