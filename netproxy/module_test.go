package netproxy

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/wasm"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
)

// BenchmarkModule is what a hook that is a small module adds to a request, in turns
// with a proxy that has none.
func BenchmarkModule(b *testing.B) {
	wasmtest.NeedsC(b)
	h, err := wasm.Load(b.Context(), wasm.Config{Name: "h", Timeout: 10 * time.Second}, wasmtest.C(b, `
#include "penstock.h"
static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	if (penstock_is(q->method, "DELETE") || penstock_has(q->query, "token="))
		penstock_deny(d, "no");
}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	pens := []*pen{newPen(b, someRules), newPen(b, someRules, func(c *Config) {
		c.Hooks = []chain.Entry{{Name: "h", Hook: h, Timeout: 10 * time.Second}}
	})}
	for _, pn := range pens {
		pn.all()
	}
	for _, proto := range []string{"h1", "h2"} {
		b.Run(proto, func(b *testing.B) {
			clients := []*http.Client{pens[0].client(proto), pens[1].client(proto)}
			var took [2][]time.Duration
			for b.Loop() {
				for i, c := range clients {
					start := time.Now()
					resp, err := c.Get("https://api.test/x?a=b")
					if err != nil {
						b.Fatal(err)
					}
					io.Copy(io.Discard, resp.Body) //nolint:errcheck // its status says what it is
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						b.Fatal(resp.Status)
					}
					took[i] = append(took[i], time.Since(start))
				}
			}
			for i, name := range []string{"p50-without-ns", "p50-with-ns"} {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2]), name)
			}
		})
	}
}
