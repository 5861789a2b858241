package clients

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// tierClients is what the clients do, one after the other: each step prints its name, its
// exit code, and what it found. $1 is a branch.
const tierClients = `
rm -rf repo node_modules package-lock.json .npm-cache
try() { name=$1; shift; "$@" >out 2>err </dev/null; echo "$name: $?"; }
show() { try "$@"; sed "s/^/$name: /" out; }
denied() { for i in 1 2 3 4 5 6; do "$@"; r=$?; grep -q 403 err && break; done; return $r; }
show get curl -sS https://api.example.com/get
show post curl -sS -d 'some data' https://api.example.com/post
show by-proxy curl -sS -x http://127.0.0.1:808 https://api.example.com/by-proxy
try method curl -sSf -X DELETE https://api.example.com/delete
try denied denied curl -sSf https://denied.example.com/
show wget wget -qO- https://api.example.com/wget
try clone git clone -q https://git.example.com/repo.git
show content cat repo/file
cd repo; git checkout -q -b "$1"; echo more >"$1"; git add .; git commit -q -m more; cd ..
try push git -C repo push -q origin "$1"
show urllib python3 -c 'import urllib.error, urllib.request as u
print(u.urlopen("https://api.example.com/urllib").read().decode().strip())
try: u.urlopen("https://denied.example.com/urllib")
except urllib.error.HTTPError as e: print(e.code)'
show fetch-of-node node -e 'for (const h of ["api", "denied"]) await fetch("https://" + h + ".example.com/node").then(async r => console.log(r.status, r.ok && (await r.text()).trim()))' --input-type=module
try npm npm install --silent left-pen
show package cat node_modules/left-pen/index.js
`

// TestTierClients: the same clients do the same in each tier that runs programs, in one
// session; what they print and what the audit says of it is the same, but for the tier.
func TestTierClients(t *testing.T) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	world.Gvisor(t)
	for _, tool := range []string{"curl", "wget", "git", "python3", "node", "npm"} {
		world.Tool(t, tool)
	}
	w := world.New(t)
	git := world.GitServer(t, t.TempDir())
	api := w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body) //nolint:errcheck // the client sees it
		io.WriteString(w, "answer\n")
	}))
	w.HTTPS("git.example.com", git)
	w.HTTPS("npm.example.com", world.NpmRegistry(t, "https://npm.example.com", ""))
	denied := w.HTTPS("denied.example.com", git)
	p := world.NewPen(t, w)
	p.Allow = []string{"{host: api.example.com, methods: [GET, POST]}", "{host: git.example.com}", "{host: npm.example.com}"}
	p.Env = map[string]string{"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
	p.Opts.Env = append(p.Opts.Env, world.Microvm(t, p.Home)...)
	p.Opts.Timeout = 8 * time.Minute
	printed, recorded := map[string]string{}, map[string][]string{}
	for _, tier := range []string{"bwrap", "gvisor", "microvm"} {
		before := len(p.Audit())
		p.Flags = []string{"--sandbox", tier}
		p.NpmProject("npm.example.com")
		r := p.Run("/bin/bash", "-c", tierClients, "clients", tier)
		if r.Code != 0 {
			t.Errorf("%s: %s", tier, r)
		}
		t.Logf("%s took %s", tier, r.Took.Round(time.Second))
		printed[tier] = r.Stdout
		recorded[tier] = verdicts(t, p.Audit()[before:], tier)
	}
	for name, want := range map[string]string{"get": "answer", "post": "some dataanswer", "urllib": "403", "content": "seed-content", "push": "0", "fetch-of-node": "200 answer", "package": "module.exports = 'from-the-registry'",
		"method": "22", "denied": "22", "npm": "0"} {
		if !strings.Contains("\n"+printed["bwrap"]+"\n", "\n"+name+": "+want+"\n") {
			t.Errorf("%s: want %q\n%s", name, want, printed["bwrap"])
		}
	}
	for _, tier := range []string{"gvisor", "microvm"} {
		if printed[tier] != printed["bwrap"] {
			t.Errorf("in %s:\n%s\nin bwrap:\n%s", tier, printed[tier], printed["bwrap"])
		}
		if !slices.Equal(recorded[tier], recorded["bwrap"]) {
			t.Errorf("recorded in %s:\n%s\nin bwrap:\n%s", tier, strings.Join(recorded[tier], "\n"), strings.Join(recorded["bwrap"], "\n"))
		}
	}
	if len(recorded["bwrap"]) < 15 || !w.Reached(api) {
		t.Errorf("control: %d different records: %s", len(recorded["bwrap"]), recorded["bwrap"])
	}
	if w.Reached(denied) || w.Asked(denied.Name) {
		t.Error("something left for the host that is denied")
	}
}

// verdicts is what the audit says of a session's requests, each kind once and sorted: how
// often a client tries again, opens a connection ahead, or is too slow to say anything, is
// a matter of time.
func verdicts(t *testing.T, records []world.Record, tier string) (out []string) {
	t.Helper()
	for _, r := range records {
		switch {
		case r.Str("type") == "session_start" && r.Str("tier") != tier:
			t.Errorf("a session of the tier %s: %v", r.Str("tier"), r)
		case strings.HasPrefix(r.Str("reason"), "it was closed before it sent anything"), strings.HasPrefix(r.Str("reason"), "it sent nothing in time"):
		case r.Str("type") == "flow_open", r.Str("type") == "dns":
			var words []string
			for _, key := range []string{"type", "protocol", "method", "host", "port", "path", "query", "name", "verdict", "rule", "reason", "mode"} {
				words = append(words, fmt.Sprint(r[key]))
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
