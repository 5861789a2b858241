package policy

import (
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestDecideDoesNotAllocate on the path that carries traffic.
func TestDecideDoesNotAllocate(t *testing.T) {
	p := manyRules(t, 1000)
	for _, s := range []string{"https://api.example.com/v1/messages", "https://a.b.org3.example/x", "https://10.0.5.9/x", "POST https://api.example.com/files/a@b"} {
		r := req(t, s)
		if p.Decide(r).Action != hooks.Allow {
			t.Fatalf("%s is denied", s)
		}
		if n := testing.AllocsPerRun(100, func() { p.Decide(r) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

// TestDecideIsConstant: 10,000 rules cost what 10 do. The bound is loose enough
// for a loaded machine; the benchmark has the figures.
func TestDecideIsConstant(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures time")
	}
	time := func(n int) float64 {
		p := manyRules(t, n)
		reqs := []*hooks.Request{req(t, "https://api.example.com/v1/messages"), req(t, "https://a.b.org3.example/x"), req(t, "https://10.0.5.9/x")}
		best := 0.0
		for range 5 { // the best of five: other load only adds
			res := testing.Benchmark(func(b *testing.B) {
				for i := 0; i < b.N; i++ {
					p.Decide(reqs[i%len(reqs)])
				}
			})
			ns := float64(res.T.Nanoseconds()) / float64(res.N)
			if best == 0 || ns < best {
				best = ns
			}
			if best < 300 {
				break
			}
		}
		return best
	}
	few, many := time(10), time(10000)
	t.Logf("10 rules: %.0f ns, 10,000 rules: %.0f ns", few, many)
	if many > 2000 {
		t.Errorf("a verdict with 10,000 rules takes %.0f ns, more than 2 µs", many)
	}
	if many > 3*few {
		t.Errorf("a verdict takes %.0f ns with 10,000 rules and %.0f with 10", many, few)
	}
}
