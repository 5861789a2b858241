package wasm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
)

// TestDocumentedModules builds the two modules of docs/hooks.md by the commands that
// stand there, and both decide alike.
func TestDocumentedModules(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(wasmtest.Root(t), "docs", "hooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, doc2, _ := strings.Cut(string(doc), "## WebAssembly modules")
	block := func(text, language string) string {
		_, b, ok := strings.Cut(text, "```"+language+"\n")
		b, _, _ = strings.Cut(b, "```\n")
		if !ok {
			t.Fatalf("no block of %s", language)
		}
		return b
	}
	for _, command := range []string{wasmtest.CommandC, wasmtest.CommandGo} {
		if !strings.Contains(doc2, "\n"+command+"\n") {
			t.Errorf("the command is not %s", command)
		}
	}
	ask := func(t *testing.T, module []byte) {
		h := load(t, Config{Timeout: 10 * time.Second}, module)
		for request, want := range map[string]string{
			"GET /": "next ", "DELETE /": "deny nothing is deleted from here", "POST /v1/x dry": "next ", "POST /v2/x dry": "deny only version 1 can be tried",
		} {
			r := hookstest.Request()
			words := strings.Fields(request)
			if r.Method, r.Path = words[0], words[1]; len(words) > 2 {
				r.Header.Set("X-Dry-Run", "1")
			}
			if d, err := h.Decide(t.Context(), r); err != nil || d.Action.String()+" "+d.Reason != want {
				t.Errorf("%s: %+v, %v; want %s", request, d, err, want)
			}
		}
		for _, p := range []hooks.Point{hooks.PointConnect, hooks.PointDNS, hooks.PointSessionStart, hooks.PointSessionEnd} {
			if d, err := h.Decide(t.Context(), hookstest.At(p)); err != nil || d.Action != hooks.Next {
				t.Errorf("%s, where there is no request: %+v, %v", p, d, err)
			}
		}
	}
	t.Run("C", func(t *testing.T) {
		wasmtest.NeedsC(t)
		ask(t, wasmtest.C(t, block(doc2, "c")))
	})
	t.Run("bodies in C", func(t *testing.T) {
		wasmtest.NeedsC(t)
		_, after, _ := strings.Cut(doc2, "\n### Bodies in C\n")
		h := load(t, Config{Timeout: 10 * time.Second}, wasmtest.C(t, block(after, "c")))
		for room, want := range map[int64]string{9: "next a c", 0: "deny a NUL in a body that can't be changed"} {
			r := hookstest.At(hooks.PointRequestBody)
			r.Body = &hooks.Body{Data: []byte("a\x00c"), Last: true, Room: room}
			d, err := h.Decide(t.Context(), r)
			got := d.Action.String() + " " + d.Reason
			if d.Change != nil {
				got += string(d.Change.Body)
			}
			if err != nil || got != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		if d, err := h.Decide(t.Context(), hookstest.Request()); err != nil || d.Action != hooks.Next {
			t.Errorf("without a body: %+v, %v", d, err)
		}
	})
	t.Run("Go", func(t *testing.T) {
		ask(t, wasmtest.GoSource(t, block(doc2, "go")))
	})
}
