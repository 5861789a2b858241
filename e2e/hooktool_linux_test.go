package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestHookTools: the hook of the documentation about tools that curl calls in a real pen,
// and one that is a process.
func TestHookTools(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			w.HTTPS("tools.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				io.WriteString(w, "got "+string(b)+"\n")
			}))
			p.Home.Write(t, "tools.py", `
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    a = q["tool"].get("arguments")
    d = {"decision": "deny", "reason": "not there"} if a and a.get("path", "").startswith("/etc/") else {"decision": "next"}
    print(q["point"], q["path"], q["tool"]["name"], a, file=sys.stderr, flush=True)
    print(json.dumps({"version": 1, "id": q["id"], **d}), flush=True)
`)
			p.Whole = hooksPolicy(t, "Calls of tools") + `  - {name: paths, on: [tool_call], exec: [/usr/bin/python3, ./tools.py], timeout: 20s}
`
			p.Flags = []string{"--ca", w.CA(), "--ci"}
			r := p.Sh(`call() { curl -sS -H 'content-type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'"$1"'}' https://tools.example.com/mcp; echo; }
call '{"name":"delete_all"}'
call '{"name":"read","arguments":{"path":"/home/a"}}'
call '{"name":"read","arguments":{"path":"/etc/shadow"}}'
call '{"name":"run_query","arguments":{"sql":"SELECT 1"}}'
call '{"name":"run_query","arguments":{"sql":"DROP TABLE a"}}'`)
			for _, want := range []string{"denied by hook no-deletes: nothing is deleted from here", `got {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"path":"/home/a"}}}`,
				"denied by hook paths: not there", `"sql":"SELECT 1"}}}`, "hook no-deletes asks: a query that may write"} {
				if strings.Count(r.Stdout, want) != 1 {
					t.Errorf("not once %q in %s", want, r)
				}
			}
			if strings.Count(r.Stdout, "got ") != 2 || !strings.Contains(r.Stderr, "hook paths: tool_call /mcp read {'path': '/etc/shadow'}\n") || strings.Contains(r.Stderr, "delete_all") {
				t.Error(r)
			}
		})
	}
}
