package wasm

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
	"github.com/penstock/penstock/hooks/wire"
)

// request is one of npm's.
func request() *hooks.Request {
	r := hookstest.Request()
	r.Target.Host, r.Method, r.Path, r.Query = "registry.npmjs.org", "GET", "/react/-/react-18.2.0.tgz", "a=b"
	r.Header = http.Header{"User-Agent": {"npm/10.8.2 node/v20.19.2 linux x64"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip, deflate, br"}, "Authorization": {"Bearer 0123456789012345678901234567890123456789"}}
	return r
}

// BenchmarkDecide is a question to a module of a few lines, and what of it is not the
// module's.
func BenchmarkDecide(b *testing.B) {
	wasmtest.NeedsC(b)
	modules := map[string][]byte{
		"c":  wasmtest.C(b, "#include \"penstock.h\"\nstatic void judge(const struct penstock_request *q, struct penstock_decision *d)\n{\n\tif (penstock_is(q->method, \"DELETE\") || penstock_has(q->query, \"token=\"))\n\t\tpenstock_deny(d, \"no\");\n}\n"),
		"go": wasmtest.Go(b, filepath.Join("testdata", "nosy")),
	}
	for name, m := range modules {
		h := load(b, Config{Timeout: 10 * time.Second}, m)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Decide(b.Context(), request()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+", a new instance", func(b *testing.B) {
			for b.Loop() {
				in, err := h.start(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				in.mod.Close(b.Context())
			}
		})
		b.Run(name+", loaded", func(b *testing.B) {
			for b.Loop() {
				load(b, Config{}, m).Close()
			}
		})
	}
	b.Run("wire", func(b *testing.B) {
		for b.Loop() {
			if _, err := wire.Request("0123456789abcdef01234567", "h", request()); err != nil {
				b.Fatal(err)
			}
			if _, err := wire.Decision("a", []byte(`{"version":1,"id":"a","decision":"next"}`), wire.MaxDecision); err != nil {
				b.Fatal(err)
			}
		}
	})
}
