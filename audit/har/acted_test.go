package har

import (
	"encoding/json"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// TestHooks: what hooks have done is in an entry of the standard, in words and in a
// member of ours, also of a flow without an end; who let it pass is not there.
func TestHooks(t *testing.T) {
	open := func(flow uint64, list ...hooks.Trace) *audit.FlowOpen {
		return &audit.FlowOpen{Flow: flow, Protocol: hooks.ProtocolHTTPS, Version: "HTTP/1.1", Target: hooks.Target{Host: "a.example", Port: 443}, Method: "GET", Path: "/", Verdict: hooks.Allow, Mode: audit.ModeEnforce, Hooks: list}
	}
	pass := hooks.Trace{Hook: "soc", Decision: hooks.Next.String()}
	set := hooks.Trace{Hook: "tools", Decision: hooks.Next.String(), Fields: &hooks.Fields{Set: []string{"X-A"}}}
	list := valid(t, schema(t), recorded(t,
		open(1, pass), &audit.FlowClose{Flow: 1, Hooks: []hooks.Trace{pass}},
		open(2, pass, set), &audit.FlowClose{Flow: 2, Class: "hook", Hooks: []hooks.Trace{{Hook: "soc", Point: hooks.PointResponse, Decision: hooks.Deny.String(), Reason: "\u202e\"},{"}}},
		open(3, set)))
	for i, want := range []string{
		` null`,
		`X-A set by hook tools; denied by hook soc at response: ` + "\u202e\"},{" + ` [{"hook":"tools","decision":"next","set":["X-A"]},{"hook":"soc","point":"response","decision":"deny","reason":"` + "\u202e" + `\"},{"}]`,
		`X-A set by hook tools; no end of this flow was recorded [{"hook":"tools","decision":"next","set":["X-A"]}]`,
	} {
		doc, err := json.Marshal(list[i].Hooks)
		if got := list[i].Comment + " " + string(doc); err != nil || got != want {
			t.Errorf("entry %d:\n%s\nwant\n%s", i, got, want)
		}
	}
}
