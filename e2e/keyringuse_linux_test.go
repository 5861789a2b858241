package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// keyringPen is a pen whose user has an unlocked keyring.
func keyringPen(t *testing.T, w *world.World) (*pen, *world.Keyring) {
	t.Helper()
	p := newPen(t, w)
	k := newKeyring(t, w, p.Home, p.Opts)
	k.Unlock("password")
	p.Opts.Env = append(p.Opts.Env, "DBUS_SESSION_BUS_ADDRESS="+k.Address, "XDG_RUNTIME_DIR="+filepath.Dir(k.Socket))
	return p, k
}

// TestKeyringRenewal: an item that is changed while the session runs is used from then
// on; a keyring that is locked takes nothing away, and says so.
func TestKeyringRenewal(t *testing.T) {
	world.Tool(t, "curl")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	const first, second = "value-of-the-keyring-number-1", "value-of-the-keyring-number-2"
	w := world.New(t)
	p, k := keyringPen(t, w)
	k.Store("An item", first, "service", "api")
	said := &awaited{line: "secret KEY could not be read anew, so the old value is kept", told: make(chan struct{})}
	w.HTTPS("api.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/rotate":
			k.Store("An item", second, "service", "api")
		case "/lock":
			k.Lock()
			select {
			case <-said.told:
			case <-r.Context().Done():
			}
		}
		fmt.Fprintln(rw, map[string]string{"Bearer " + first: "first", "Bearer " + second: "second"}[r.Header.Get("Authorization")])
	}))
	p.Allow = []string{"{host: api.example.com}"}
	p.Secrets = []string{`{name: KEY, from: {keyring: "service=api", every: 1s, expires: 1h}, hosts: [api.example.com], bearer: true}`}
	p.Ran = true
	var out bytes.Buffer
	cmd := w.Command(p.Home, p.Opts, append(append([]string{world.Penstock(t), "run", "--policy", p.WritePolicy()}, p.Flags...), "--", "/bin/bash", "-c", `
get() { curl -sS --oauth2-bearer "$KEY" "https://api.example.com$1"; }
get / && get /rotate
until get / | grep -q second; do :; done; echo now
get /lock && get /
env | grep -e service= -e value-of`)...)
	cmd.Stdout, cmd.Stderr = &out, said
	if err := world.Start(cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // the exit code tells
	r := world.Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: said.all.String()}
	if r.Code != 1 || r.Stdout != "first\nfirst\nnow\nsecond\nsecond\n" || !strings.Contains(r.Stderr, "the old value is kept: the keyring is locked: unlock it") {
		t.Error(r)
	}
	show := w.Run(p.Home, p.Opts, world.Penstock(t), "audit", "show", "--events")
	recorded := strings.Join(strings.Fields(show.Stdout), " ")
	for _, want := range []string{"secret KEY renewed", "secret KEY failed the keyring is locked"} {
		if !strings.Contains(recorded, want) {
			t.Errorf("not recorded: %q\n%s", want, show)
		}
	}
	for _, v := range []string{first, second} {
		if strings.Contains(show.Stdout+r.Stdout+r.Stderr, v) {
			t.Errorf("%s was shown", v)
		}
	}
}

// TestKeyringOthers: a proxy's password and a webhook's key come from the keyring; the
// pen has neither, and without the item nothing starts.
func TestKeyringOthers(t *testing.T) {
	world.Tool(t, "curl")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	w := world.New(t)
	password, key := rand.Text(), rand.Text()
	org := w.HTTPS("www.corp.example", world.Text("org"))
	w.Name(org.Name)
	w.HTTPS("hooks.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(key))
		io.WriteString(mac, r.Header.Get("Penstock-Time")+".") //nolint:errcheck // a hash does not fail
		mac.Write(body)                                        //nolint:errcheck // a hash does not fail
		var q struct{ ID, Path string }
		if json.Unmarshal(body, &q) != nil || r.Header.Get("Penstock-Signature") != "v1="+hex.EncodeToString(mac.Sum(nil)) {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"version": 1, "id": %q, "decision": "next"}`, q.ID)
	}))
	proxy := squid(t, w, "proxy.keyring.example", "http", basicLogin(t, "corp", password), org)
	p, k := keyringPen(t, w)
	k.Store("My proxy", "corp:"+password, "service", "proxy")
	k.Store("My hook", key, "service", "soc")
	p.Allow = []string{`{host: "*.corp.example", via: corp}`}
	p.Egress = fmt.Sprintf("  upstreams:\n    corp: {url: \"http://%s:3128\", from: \"keyring:service=proxy\"}\n", proxy.Name)
	p.Hooks = []string{`{name: soc, on: [request], http: "https://hooks.example.com/", key: "keyring:My hook", timeout: 20s}`}
	r := p.Sh("curl -sS https://www.corp.example/; env; cat /proc/*/environ | tr '\\0' '\\n'")
	world.WantOutput(t, r, 0, "org")
	p.wantVia(org, "corp", false)
	p.wantNoPassword(password, r)
	p.wantNoPassword(key, r)
	if log := proxy.asked(t); !strings.Contains(log, "CONNECT www.corp.example:443 corp ") {
		t.Error(log)
	}
	for _, c := range []struct{ from, with, want string }{
		{"service=proxy", "service=none", "use upstream corp ("}, {"My hook", "No hook", "use the key of hook soc ("},
	} {
		q := *p
		own := *p.Pen
		q.Pen = &own
		q.Egress, q.Hooks = strings.Replace(p.Egress, c.from, c.with, 1), []string{strings.Replace(p.Hooks[0], c.from, c.with, 1)}
		if r := q.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, c.want) || !strings.Contains(r.Stderr, "item "+c.with+" of the keyring is empty or not set") {
			t.Error(r)
		}
	}
	k.Lock()
	if r := p.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "use upstream corp (") || !strings.Contains(r.Stderr, "the keyring is locked: unlock it") {
		t.Error(r)
	}
}
