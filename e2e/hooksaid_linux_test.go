package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// bothProgram changes the header of each request, and the body of those that have one.
const bothProgram = `
import base64, json, sys

for line in sys.stdin:
    q = json.loads(line)
    d = {"version": 1, "id": q["id"], "decision": "next"}
    if q["point"] == "request":
        d |= {"set": {"X-Tool": "hidden-value"}, "remove": ["User-Agent"]}
    else:
        d["body"] = base64.b64encode(base64.b64decode(q["body"]["data"]).replace(b"hunter2", b"...")).decode()
    print(json.dumps(d), flush=True)
`

// TestHookChangesAreSaid: a hook changes header and body, and every view of the audit says
// so, without what was there before or is there now.
func TestHookChangesAreSaid(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	world.Tool(t, "curl")
	w := world.New(t)
	p := newPen(t, w)
	w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s with %q %q %v\n", b, r.Header["X-Tool"], r.Header["User-Agent"], err)
	}))
	p.Allow = []string{"{host: api.example.com}"}
	p.Home.Write(t, "both.py", bothProgram)
	p.Hooks = []string{`{name: both, on: [request, request_body], exec: [/usr/bin/python3, ./both.py], change: body, timeout: 20s}`}
	world.WantOutput(t, p.Sh(`printf a=hun''ter2 | curl -sS --data @- https://api.example.com/`), 0, `got a=... with ["hidden-value"] [] <nil>`)
	const words = "X-Tool set by hook both; User-Agent removed by hook both; body changed by hook both: 9 bytes to 5"
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"audit show", []string{"\n              " + words + "\n"}},
		{"audit show --json", []string{`"X-Tool"`, `"User-Agent"`, `"before": 9`, `"after": 5`}},
		{"audit show --events", []string{words}},
		{"logs", []string{words}},
		{"audit export --format csv", []string{`,"hooks"`, `,"` + words + `"`}},
		{"audit export --format har", []string{`"comment":"` + words + `"`, `"_hooks":[{"hook":"both","decision":"next","set":["X-Tool"],"removed":["User-Agent"]},{"hook":"both","point":"request_body","decision":"next","body":{"before":9,"after":5,`}},
	} {
		out := w.Run(p.Home, p.Opts, append([]string{world.Penstock(t)}, strings.Fields(tt.args)...)...)
		for _, want := range tt.want {
			if !strings.Contains(out.Stdout, want) {
				t.Errorf("%s: no %s\n%s", tt.args, want, out)
			}
		}
		if strings.Contains(out.Stdout, "hidden-value") || strings.Contains(out.Stdout, "hunter2") {
			t.Errorf("%s has a value\n%s", tt.args, out)
		}
	}
}
