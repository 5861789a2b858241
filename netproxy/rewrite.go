package netproxy

import (
	"maps"
	"net/http"
	"slices"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// rewritable says whether what hooks make of the request can be made; else it is denied as
// the decision says. One change is, and then everybody is asked about the request that
// leaves: who changes that again has said nothing about what would.
func (f *flow) rewritable(c *hooks.Change, trace []hooks.Trace) (no hooks.Decision, ok bool) {
	refused := func(field, why string) (hooks.Decision, bool) {
		by := chain.Changer(trace, field)
		return hooks.Decision{Rule: f.gen.hooks.Rule(by), Reason: "hook " + by + " changes " + why}, false
	}
	if f.rewritten {
		return refused("", "again what it was asked about after a change")
	}
	for _, name := range append(slices.Sorted(maps.Keys(c.Set)), c.Remove...) {
		if why := f.p.cfg.Secrets.Touches(name, c.Set[name], f.req.Target); why != "" {
			return refused(name, name+", "+why)
		}
	}
	return no, true
}

// rewrite makes a change of a header. Its old one stays as it is: the server still has it.
func (f *flow) rewrite(r *http.Request, c *hooks.Change) {
	f.rewritten = true
	r.Header = c.Of(r.Header)
	if len(r.Header["User-Agent"]) == 0 {
		r.Header["User-Agent"] = nil // Transport would add its own
	}
	f.req.Header = r.Header
}
