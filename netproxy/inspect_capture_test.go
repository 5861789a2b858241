package netproxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// TestBodyHookCapture: what a hook or a rule has read of a body to judge it is
// captured once, from its beginning, and arrives.
func TestBodyHookCapture(t *testing.T) {
	w, captured := captureFile(t)
	const rules = `  allow:
    - {host: api.test, capture: {request: 1KiB}}
    - {host: rpc.test, capture: {request: 1KiB}, jsonrpc: {methods: [ping]}}
`
	want := map[uint64]string{}
	const call = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for n, i := range []hooks.Inspect{{}, {Stream: true}, {Max: 5, Over: true}, {Stream: true, Overlap: 3, Max: 5, Over: true}} {
		h := &bodyHook{}
		pn := newPen(t, rules, func(c *Config) { c.Capture = w }, func(c *Config) {
			c.Hooks = []chain.Entry{{Name: "test", Hook: h, On: []hooks.Point{hooks.PointRequestBody}, Inspect: i}}
		})
		got := make(chan string, 1)
		for _, host := range []string{"api.test:443", "rpc.test:443"} {
			pn.origin(host, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				got <- string(b)
			}))
		}
		pn.p.flows.Store(uint64(1000 * n)) // one file for all of them
		for k, body := range []string{"hello", strings.Repeat("x", 20_000), call} {
			host := map[bool]string{true: "rpc", false: "api"}[body == call]
			flow := pn.ask(fmt.Sprintf("https://%s.test/%d", host, k), body, "Content-Type", "application/json")
			if b := <-got; b != body {
				t.Errorf("%+v: %d bytes arrived, not %d", i, len(b), len(body))
			}
			if seen, _ := h.last(); !strings.HasPrefix(body, seen) || seen == "" {
				t.Errorf("%+v: asked about %q", i, seen)
			}
			want[flow] = body
		}
	}
	x := captured()
	if len(want) != 12 {
		t.Fatalf("%d flows", len(want))
	}
	for flow, body := range want {
		e, err := x.Of(flow)
		if err != nil || e == nil || e.Request == nil {
			t.Fatal(e, err)
		}
		kept := body[:min(len(body), 1024)]
		if string(e.Request.Body) != kept || e.Request.Truncated != (len(kept) < len(body)) {
			t.Errorf("flow %d: kept %d of %d bytes, truncated %t", flow, len(e.Request.Body), len(body), e.Request.Truncated)
		}
	}
}
