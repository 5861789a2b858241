package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// newKeyring is a session bus of who runs, in the home directory.
func newKeyring(t *testing.T, w *world.World, h *world.Home, o world.Options) *world.Keyring {
	t.Helper()
	dir := filepath.Dir(h.Write(t, "run/.keep", ""))
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return world.NewBus(t, dir, false, func(argv ...string) *exec.Cmd {
		return w.Command(h, world.Options{User: o.User, Env: []string{"XDG_RUNTIME_DIR=" + dir}}, argv...)
	})
}

// TestKeyring: a value of a real keyring is put in by the proxy, whoever runs, and the
// pen has neither the bus, nor what the item is called, nor the value.
func TestKeyring(t *testing.T) {
	world.Tool(t, "curl")
	world.Tool(t, "dbus-send")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			const value = "value-of-the-keyring-0123456789"
			w := world.New(t)
			w.HTTPS("api.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer "+value {
					fmt.Fprintln(rw, "the value came")
				}
			}))
			h := w.NewHome(o)
			k := newKeyring(t, w, h, o)
			k.Unlock("password")
			k.Store("An unseen label", value, "unseen-attribute", "unseen-account")
			o.Env = []string{"DBUS_SESSION_BUS_ADDRESS=" + k.Address, "XDG_RUNTIME_DIR=" + filepath.Dir(k.Socket)}
			policy := func(from string) string {
				return h.Write(t, "policy.yaml", fmt.Sprintf("version: 1\negress: {allow: [{host: api.example.com}]}\nsecrets:\n  - {name: KEY, from: %q, hosts: [api.example.com], bearer: true}\n", from))
			}
			run := func(o world.Options, from, script string, flags ...string) world.Result {
				return w.Run(h, o, append(append([]string{world.Penstock(t), "run", "--policy", policy(from), "--ca", w.CA()}, flags...), "--", "/bin/bash", "-c", script)...)
			}
			// What a tool would try: the variables, the socket's path, the bus by its
			// address, and everything it can read of its own session.
			r := run(o, "keyring:unseen-attribute=unseen-account", `
curl -sS --oauth2-bearer "$KEY" https://api.example.com/
echo "bus=$DBUS_SESSION_BUS_ADDRESS dir=$XDG_RUNTIME_DIR"
test -e `+k.Socket+` && echo GOT the socket
dbus-send --bus=`+k.Address+` --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames && echo GOT the bus
{ env; cat /proc/*/cmdline /proc/*/environ; grep -rs -e 'unsee[n]' -e 'value-of-th[e]' /tmp /run /etc/penstock "$HOME"; } 2>/dev/null | tr '\0' '\n' | grep -e 'unsee[n]' -e 'value-of-th[e]' && echo GOT a name
true`)
			if r.Code != 0 || !strings.Contains(r.Stdout, "the value came\nbus= dir=") || strings.Contains(r.Stdout, "GOT") {
				t.Error(r)
			}
			if r := run(o, "keyring:An unseen label", `curl -sS --oauth2-bearer "$KEY" https://api.example.com/`); r.Stdout != "the value came\n" {
				t.Error(r)
			}
			if r := run(o, "keyring:no-such=item", `echo "key=$KEY"`); r.Code != 0 || r.Stdout != "key=\n" || !strings.Contains(r.Stderr, "secret KEY has no value here") {
				t.Error(r)
			}
			// The pen can write to the socket's directory: what it puts there is no bus.
			for _, granted := range []string{filepath.Dir(k.Socket), h.Path} {
				if r := run(o, "keyring:unseen-attribute=unseen-account", "echo ran", "--write", granted); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "where a tool in a pen can change it") {
					t.Error(r)
				}
			}
			k.Lock()
			if r := run(o, "keyring:unseen-attribute=unseen-account", "echo ran"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "policy.yaml:4): the keyring is locked: unlock it") {
				t.Error(r)
			}
			if r := run(o, "keyring:unseen-attribute=unseen-account", "echo ran", "--dry-run"); r.Code != 0 || strings.Contains(r.Stderr, "locked") {
				t.Error(r)
			}
			o.Env = nil
			if r := run(o, "keyring:unseen-attribute=unseen-account", "echo ran"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "there is no session bus") {
				t.Error(r)
			}
			if v := w.Run(h, o, world.Penstock(t), "audit", "verify"); v.Code != 0 {
				t.Error(v)
			}
			show := w.Run(h, o, world.Penstock(t), "audit", "show", "--events")
			if strings.Contains(show.Stdout, value) || show.Code != 0 {
				t.Error(show)
			}
			filepath.WalkDir(filepath.Join(h.Path, ".local/state"), func(name string, d fs.DirEntry, err error) error { //nolint:errcheck // what can't be read holds nothing
				if b, _ := os.ReadFile(name); strings.Contains(string(b), value) {
					t.Errorf("%s has the value", name)
				}
				return nil
			})
		})
	}
}
