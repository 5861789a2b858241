package tiers

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// A module's manifest takes away from what the policy grants, and whatever it says it
// adds nothing: for each kind of user.
func TestWASMManifest(t *testing.T) {
	if world.Bare() {
		t.Skip("no module runs without a pen")
	}
	code := module(t)
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Flags: []string{"--sandbox", "wasm"}}
			answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("of " + r.Host)) })
			w.HTTPS("api.example.com", answer)
			more := w.HTTPS("more.example.com", answer)
			denied := w.HTTPS("denied.example.com", answer)
			p.Allow = []string{"{host: api.example.com}", "{host: more.example.com}"}
			p.Home.Write(t, "project/tool.wasm", string(code))
			p.Home.Write(t, "project/in/file", "input")
			p.Home.Write(t, "project/out/file", "output")
			p.Home.Write(t, "project/top", "of the project")
			p.Home.Write(t, "secret/file", "of the host")
			p.Home.Own(t)
			in := func(name string) string { return filepath.Join(p.Home.Path, name) }
			p.Opts.Dir = in("project")
			// As a tool of an earlier session may have left them.
			for link, to := range map[string]string{"etc": "/etc", "host": "../secret", "run": "/run/penstock"} {
				if err := os.Symlink(to, in("project/"+link)); err != nil {
					t.Fatal(err)
				}
			}
			get := func(host string) []string { return []string{"get", `{"method":"GET","url":"https://` + host + `/"}`} }
			const words = `"arguments":[{"name":"word","type":"string","repeated":true}]`
			for _, tt := range []struct {
				manifest string
				args     []string
				want     string // in standard output; "refused": any error
				code     int
				stderr   string
			}{
				{`,"paths":[{"path":"in"}]`, []string{"show", in("project/in/file")}, "has input", 0, ""},
				{`,"paths":[{"path":"in"}]`, []string{"show", in("project/top")}, "refused", 0, ""},
				{`,"paths":[{"path":"in"}]`, []string{"put", in("project/in/file"), "x"}, "refused", 0, ""},
				{`,"paths":[{"path":"out","write":true}]`, []string{"put", in("project/out/new"), "x"}, "ok", 0, ""},
				{`,"paths":[{"path":"out","write":true}]`, []string{"put", in("project/in/new"), "x"}, "refused", 0, ""},
				{`,"paths":[]`, []string{"show", in("project/in/file")}, "refused", 0, ""},
				{``, []string{"show", in("project/in/file")}, "refused", 0, ""},
				{`,"paths":[{"path":"/","write":true}]`, []string{"show", "/etc/passwd"}, "refused", 0, ""},
				{`,"paths":[{"path":"/etc"}]`, []string{"show", "/etc/passwd"}, "refused", 0, "wants to read \"/etc\", which the session does not grant"},
				{`,"paths":[{"path":"etc"},{"path":"host"},{"path":"run"}]`, []string{"show", in("project/etc/passwd")}, "refused", 0, ""},
				{`,"paths":[{"path":"etc"},{"path":"host"},{"path":"run"}]`, []string{"show", in("project/host/file")}, "refused", 0, "leads to where the session does not"},
				{`,"paths":[{"path":"etc"},{"path":"host"},{"path":"run"}]`, []string{"show", in("project/run/ca.pem")}, "refused", 0, ""},
				{`,"paths":[{"path":"../secret"},{"path":"../../../../etc"}]`, []string{"show", in("secret/file")}, "refused", 0, "does not grant"},
				{`,"paths":[{"path":".git","write":true}]`, []string{"put", in("project/.git/hooks/post-commit"), "x"}, "refused", 0, ""},
				{`,"hosts":["api.example.com"]`, get("api.example.com"), "body of api.example.com", 0, ""},
				{`,"hosts":["api.example.com"]`, get("more.example.com"), "result -5", 0, ""},
				{`,"hosts":[]`, get("more.example.com"), "result -5", 0, ""},
				{``, get("more.example.com"), "result -5", 0, ""},
				{`,"memory_mib":8192`, []string{"exit", "0"}, "", 126, "tool.wasm.json:1: memory_mib is 8192"},
				{`,"timeout":"100ms"`, []string{"spin"}, "", 124, "it has run for 100ms"},
				{`,"such":1`, []string{"exit", "0"}, "", 126, `tool.wasm.json:1: unknown field "such"`},
			} {
				p.Home.Write(t, "project/tool.wasm.json", `{"version":1,`+words+tt.manifest+`}`)
				p.Home.Own(t)
				r := p.Run(append([]string{"./tool.wasm"}, tt.args...)...)
				refused := r.Stdout != "" && !strings.HasPrefix(r.Stdout, "has") && r.Stdout != "ok\n"
				if tt.want == "refused" && !refused || tt.want != "refused" && !strings.Contains(r.Stdout, tt.want) || r.Code != tt.code || !strings.Contains(r.Stderr, tt.stderr) {
					t.Errorf("%s %v: %s", tt.manifest, tt.args, r)
				}
			}
			if w.Reached(more) {
				t.Error("what the manifest does not list was asked")
			}
			// What the manifest lists and the policy does not is denied as ever.
			p.Home.Write(t, "project/tool.wasm.json", `{"version":1,`+words+`,"hosts":["*"]}`)
			p.Home.Own(t)
			if r := p.Run(append([]string{"./tool.wasm"}, get("denied.example.com")...)...); strings.Contains(r.Stdout, "of denied") || w.Reached(denied) {
				t.Errorf("denied: %s", r)
			}
			// The control: the same request and file without a manifest.
			if err := os.Remove(in("project/tool.wasm.json")); err != nil {
				t.Fatal(err)
			}
			if r := p.Run(append([]string{"./tool.wasm"}, get("more.example.com")...)...); !strings.Contains(r.Stdout, "body of more.example.com") {
				t.Errorf("the control: %s", r)
			}
		})
	}
}
