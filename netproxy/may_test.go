package netproxy

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/policy"
)

// TestMayIsWhatTheChainTakes: what policy explain says that a process may do at a point is
// what an answer of one may be there, and nothing else.
func TestMayIsWhatTheChainTakes(t *testing.T) {
	says := map[string]hooks.Decision{
		"deny":   {Action: hooks.Deny},
		"ask":    {Action: hooks.Ask},
		"route":  {Action: hooks.Route, Via: "corp"},
		"reply":  {Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}},
		"header": {Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-A": "b"}}},
	}
	for _, name := range hooks.PointNames() {
		p, _ := hooks.PointNamed(name)
		if p.Sessional() {
			continue
		}
		may := (&policy.Hook{Asks: &policy.Program{}}).May(p)
		for what, d := range says {
			c, err := chain.New([]chain.Entry{{Name: "h", On: []hooks.Point{p}, Hook: hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) { return d, nil })}})
			if err != nil {
				t.Fatal(err)
			}
			_, trace := c.Request(t.Context(), &hooks.Request{Point: p, Header: http.Header{}, Body: &hooks.Body{}})
			if taken := trace[0].Decision != "failed"; taken != slices.Contains(may, what) {
				t.Errorf("%s at %s: taken %v, may %v", what, p, taken, may)
			}
		}
	}
}
