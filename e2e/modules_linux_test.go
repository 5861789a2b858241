package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks/wasm/wasmtest"
	"github.com/penstock/penstock/internal/world"
)

// A module in C decides about the requests of curl in a real pen, of an ordinary user,
// of root and under the privileged supervisor. It counts; a tool can't have it forget,
// nor put another one in its place.
func TestModule(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	wasmtest.NeedsC(t)
	module := wasmtest.C(t, `
#include "penstock.h"
static int asked;
static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	if (penstock_is(q->path, "/trap"))
		__builtin_trap();
	if (penstock_is(q->path, "/loop"))
		for (volatile int i = 0;; i++);
	if (++asked > 2)
		penstock_deny(d, "enough");
	if (penstock_has(q->query, "token="))
		penstock_deny(d, "a token");
}`)
	sum := sha256.Sum256(module)
	hash := hex.EncodeToString(sum[:])
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			api := w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.URL.Path) }))
			kept := p.Home.Write(t, "kept/hook.wasm", string(module))
			exposed := p.Home.Write(t, "project/hook.wasm", string(module))
			p.Allow = []string{"{host: api.example.com}"}
			hook := func(path, more string) {
				p.Hooks = []string{"{name: count, on: [request], wasm: " + world.QuoteYAML(path) + ", timeout: 2s" + more + "}"}
			}
			get := "get() { curl -sS --max-time 60 https://api.example.com/$1; echo; }; "
			runs := func(script string, want ...string) {
				t.Helper()
				r := p.Sh(get + script)
				for _, s := range want {
					if !strings.Contains(r.Stdout, s) {
						t.Errorf("no %q in %s", s, r)
					}
				}
				if strings.Contains(r.Stdout, "api has /no") || !w.Reached(api) {
					t.Error(r)
				}
			}
			hook(kept, ", stateful: true")
			runs("get 1; get no?token=x; get no", "api has /1", "denied by hook count: a token", "denied by hook count: enough")
			runs("get 1; get trap; get no", "api has /1", "hook count failed, which denies: it failed: wasm error: unreachable", "what it remembered is lost")
			// An ordinary one begins anew.
			hook(kept, "")
			runs("get 1; get trap; get 2; get loop; get 3", "api has /1", "api has /2", "in time", "api has /3")
			out := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--all")
			if !strings.Contains(out.Stdout, `"hooks":[{"hook":"count","decision":"deny","reason":"a token"`) || !strings.Contains(out.Stdout, `"hash":"`+hash+`"`) {
				t.Error(out)
			}
			// In the work directory only with its hash, and what the tool makes of it is not read.
			hook(exposed, "")
			if r := p.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "where a tool in a pen can change it") || !strings.Contains(r.Stderr, "sha256: "+hash) {
				t.Error(r)
			}
			hook(exposed, ", sha256: "+world.QuoteYAML(hash))
			runs("get 1; echo >"+exposed+"; get no?token=x", "api has /1", "denied by hook count: a token")
			if b, err := os.ReadFile(exposed); err != nil || len(b) != 1 {
				t.Errorf("the tool could not change it: %d bytes, %v", len(b), err)
			}
			if r := p.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, "has another content than the policy says") {
				t.Error(r)
			}
			// What is no module starts nothing.
			hook(p.Home.Write(t, "kept/text.wasm", "(module)"), "")
			if r := p.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, "text.wasm: it is no WebAssembly module") {
				t.Error(r)
			}
			hook(filepath.Join(filepath.Dir(kept), "gone.wasm"), "")
			if r := p.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "use the module of hook count") {
				t.Error(r)
			}
		})
	}
}
