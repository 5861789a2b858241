package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestHookChanges: the program of docs/hooks.md changes what curl sends, for an ordinary user,
// root and under the privileged supervisor; another hook sees that, and a rule judges it.
func TestHookChanges(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## Changing a header\n")
	_, program, _ := strings.Cut(after, "```python\n")
	program, _, ok := strings.Cut(program, "```\n")
	if !ok {
		t.Fatal("no program in hooks.md")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			says := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%s%s has %q, %q\n", r.Host, r.URL.Path, r.Header["X-Request-Tool"], r.Header["User-Agent"])
			})
			w.HTTPS("api.example.com", says)
			other := w.HTTPS("other.example.com", says)
			p.Allow = []string{"{host: api.example.com}", `{host: other.example.com, when: '!("x-request-tool" in request.headers)'}`}
			p.Home.Write(t, "tools.py", program)
			p.Hooks = []string{
				`{name: early, on: [request], cel: 'request.path == "/early" && "x-request-tool" in request.headers ? "deny: of a tool" : "next"', timeout: 20s}`,
				`{name: tools, on: [request], exec: [/usr/bin/python3, ./tools.py], timeout: 20s}`,
			}
			r := p.Sh(`curl -sS --http1.1 https://api.example.com/1; curl -sS --http2 -H 'x-request-tool: none' https://api.example.com/2
curl -sS -A '' -H 'x-request-tool: agent' https://api.example.com/3; curl -sS https://api.example.com/early; curl -sS https://other.example.com/`)
			world.WantOutput(t, r, 0, `api.example.com/1 has ["agent"], []`, `api.example.com/2 has ["agent"], []`, `api.example.com/3 has ["agent"], []`, "denied by hook early: of a tool", "its when is false")
			if w.Reached(other) || strings.Contains(r.Stdout, "/early has") {
				t.Error(r)
			}
			out := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--all")
			if got := strings.Count(out.Stdout, `"set":["X-Request-Tool"],"removed":["User-Agent"]`); got != 4 || strings.Contains(out.Stdout, `"agent"`) {
				t.Errorf("recorded %d times\n%s", got, out)
			}
			if out = p.W.Run(p.Home, p.Opts, world.Penstock(t), "logs"); !strings.Contains(out.Stdout, "  X-Request-Tool set by hook tools; User-Agent removed by hook tools") {
				t.Error(out)
			}
		})
	}
}
