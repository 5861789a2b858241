package proxyrole

import (
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/policy"
)

// hooksOf makes the chain of a policy's hooks, which are compiled.
func hooksOf(p *policy.Policy) (*chain.Chain, error) {
	var entries []chain.Entry
	for _, h := range p.Hooks() {
		entries = append(entries, chain.Entry{Name: h.Name, Rule: h.From.Ref(), Hook: h.Compiled(),
			About: func(t *hooks.Target) bool { return h.About(t) }, Timeout: h.Timeout, Concurrency: h.Concurrency})
	}
	return chain.New(entries)
}
