package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// hooksPolicy returns the first policy below a heading of docs/hooks.md.
func hooksPolicy(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, policy, _ := strings.Cut(after, "```yaml\n")
	policy, _, ok := strings.Cut(policy, "```\n")
	if !ok {
		t.Fatal("no policy below " + heading + " in hooks.md")
	}
	return policy
}

// TestHookNames: the hook of the documentation about what getent and curl ask for in a
// real pen.
func TestHookNames(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			world.Tool(t, "getent")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			long := strings.Repeat("leak", 9) + ".example.com"
			for _, host := range []string{"api.example.com", long} {
				w.HTTPS(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host+" has "+r.URL.Path+"\n") }))
			}
			p.Whole, p.Flags = hooksPolicy(t, "Names"), []string{"--ca", w.CA()}
			r := p.Sh(`getent ahosts api.example.com | grep -q '^198[.]1[89][.]' && echo found
getent ahosts ` + long + `; echo long $?
getent ahosts other.example.org | grep -q '^198[.]1[89][.]' && echo other found
curl -sS https://api.example.com/a
curl -sS --noproxy '*' https://` + long + `/b
curl -sS --socks5-hostname 127.0.0.1:808 https://` + long + `/c
curl -sS -x http://127.0.0.1:808 https://` + long + `/d
curl -sS -o /dev/null -w 'other %{http_code}\n' https://other.example.org/`)
			for _, want := range []string{"found\nlong 2\nother found\napi.example.com has /a\n", "other 403\n"} {
				if !strings.Contains(r.Stdout, want) {
					t.Errorf("no %q in %s", want, r)
				}
			}
			if strings.Contains(r.Stdout, "leak.example.com has") || strings.Count(r.Stderr, "Could not resolve host: "+long) != 1 {
				t.Error(r)
			}
			if want := "penstock: no address for " + long + " (A): denied by hook short-names: a name that says too much\n"; strings.Count(r.Stderr, want) != 1 {
				t.Errorf("no %q in %s", want, r)
			}
			asked := map[string]bool{}
			for line := range strings.Lines(p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--all").Stdout) {
				var rec world.Record
				if err := json.Unmarshal([]byte(line), &rec); err != nil {
					t.Fatal(err)
				}
				list, _ := rec["hooks"].([]any)
				for _, h := range list {
					m := h.(map[string]any)
					what := rec.Str("name") + rec.Str("host") + " " + m["hook"].(string) + " " + m["point"].(string) + " " + m["decision"].(string)
					asked[rec.Str("type")+" "+what+" "+rec.Str("rcode")] = true
				}
			}
			for _, want := range []string{"dns api.example.com short-names dns next NOERROR", "dns " + long + " short-names dns deny NXDOMAIN",
				"flow_open api.example.com short-names dns next ", "flow_open " + long + " short-names dns deny "} {
				if !asked[want] {
					t.Errorf("not recorded: %s; but %v", want, asked)
				}
			}
			for what := range asked {
				if strings.Contains(what, "example.org") {
					t.Errorf("a hook was asked about what the policy denies: %s", what)
				}
			}
		})
	}
}

// TestHookNamesProcess: a process is told names that the policy lets something go to, and
// no others; where it gives no answer a name is not found now, and others are.
func TestHookNamesProcess(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	world.Tool(t, "getent")
	p := newPen(t, world.New(t))
	p.Home.Write(t, "names.py", `
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    print(q["point"], q["host"], q["lookup"]["type"], "policy.yaml:" in q["lookup"]["rule"], "port" in q, "headers" in q, file=sys.stderr, flush=True)
    print(json.dumps({"version": 1, "id": q["id"], "decision": "next"}), flush=True)
`)
	p.Allow = []string{`{host: "*.example.com"}`}
	p.Hooks = []string{`{name: n, on: [dns], exec: [/usr/bin/python3, ./names.py], timeout: 20s}`,
		`{name: silent, on: [dns], hosts: [silent.example.com], exec: [/bin/sleep, "1000"], timeout: 500ms}`}
	r := p.Sh(`getent ahosts silent.example.com & getent ahostsv4 a.example.com >/dev/null && echo found; getent ahostsv4 secret.example.org >/dev/null && echo found; wait $!; echo $?`)
	if r.Stdout != "found\nfound\n2\n" {
		t.Error(r)
	}
	if !strings.Contains(r.Stderr, "hook n: dns a.example.com A True False False\n") || strings.Contains(r.Stderr, "secret") {
		t.Error(r)
	}
	failed := false
	for _, rec := range p.Audit() {
		failed = failed || rec.Str("type") == "dns" && rec.Str("name") == "silent.example.com" && rec.Str("rcode") == "SERVFAIL" && strings.Contains(rec.Str("reason"), "hook silent failed, which denies: it did not answer in time")
	}
	if !failed {
		t.Error("no record of the name that was not answered")
	}
}
