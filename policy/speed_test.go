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
