package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// pacPen is a pen that reaches everything of the scene as a file says: by two squids,
// of which the second wants a login, or directly.
func pacPen(t *testing.T, s *upstreamScene, one, two, file, among string) *pen {
	t.Helper()
	p := newPen(t, s.w)
	p.Home.Write(t, "etc/proxy.pac", file)
	p.Allow = []string{`{host: "*.corp.example"}`, `{host: "*.example.net"}`, `{host: banner.corp.example, ports: [2525], protocol: tcp}`, "{cidr: 203.0.113.0/24}"}
	p.Egress = fmt.Sprintf("  via: auto\n  upstreams:\n    one: {url: %q}\n    two: {url: %q, user: corp, from: \"env:PROXY_LOGIN\"}\n    auto: {pac: %q, among: [%s], my_address: 10.1.2.3}\n",
		one, two, filepath.Join(p.Home.Path, "etc/proxy.pac"), among)
	p.Opts.Env = append(p.Opts.Env, "PROXY_LOGIN="+s.password)
	return p
}

// TestUpstreamPAC: curl, git, npm and raw TCP by a file whose answers differ by
// host, with proxies that are down.
func TestUpstreamPAC(t *testing.T) {
	s := newUpstreamScene(t)
	one := squid(t, s.w, "one.proxy.example", "http", squidLogin{}, s.known()...)
	two := squid(t, s.w, "two.proxy.example", "http", basicLogin(t, "corp", s.password), s.known()...)
	direct := s.w.HTTPS("direct.example.net", world.Text("direct"))
	clear := s.w.HTTP("fallback.example.net", world.Text("fallback"))
	s.w.Name("down.proxy.example", s.w.Address())
	p := pacPen(t, s, "http://one.proxy.example:3128", "http://two.proxy.example:3128", `
// As companies write them.
var one = "PROXY one.proxy.example:3128", two = "PROXY two.proxy.example:3128";
function FindProxyForURL(url, host) {
	host = host.toLowerCase();
	if (myIpAddress() != "10.1.2.3" || dnsResolve(host) !== null && !/^[0-9.]+$/.test(host)) return "PROXY wrong.example:1";
	if (isPlainHostName(host) || dnsDomainIs(host, ".lab.example") || host == "direct.example.net")
		return "DIRECT";
	if (shExpMatch(host, "fallback.*")) return "PROXY down.proxy.example:3128; DIRECT";
	if (host == "undeclared.example.net") return "PROXY other.example:8080";
	if (host == "loop.example.net") while (true) { host.length; }
	if (host == "nothing.example.net") return;
	if (shExpMatch(url, "http://*") || host.substring(0, 3) == "git" || url.indexOf(":2525/") > 0)
		return two + "; " + one;
	return one + "; DIRECT";
}`, "one, two, down, direct")
	p.Egress = strings.Replace(p.Egress, "    one:", "    down: {url: \"http://down.proxy.example:3128\"}\n    one:", 1)
	p.NpmProject("npm.corp.example")
	r := p.Sh(`set -e
curl -sS https://web.corp.example/one https://direct.example.net/ http://fallback.example.net/ http://clear.corp.example/plain
git clone -q https://git.corp.example/repo.git && cat repo/file
npm install --silent left-pen && cat node_modules/left-pen/index.js
exec 3<>/dev/tcp/banner.corp.example/2525 && read -r -u 3 line && echo "$line"`)
	world.WantOutput(t, r, 0, "HTTP/2.0 web.corp.example /one", "direct", "fallback", "HTTP/1.1 clear.corp.example /plain got 0, login []", "seed-content", "from-the-registry", "220 hello")
	first, second := one.asked(t), two.asked(t)
	for log, want := range map[string]string{first: "CONNECT web.corp.example:443", second: "GET http://clear.corp.example/plain"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
	if !strings.Contains(second, "CONNECT git.corp.example:443 corp") || !strings.Contains(second, "CONNECT banner.corp.example:2525 corp") || strings.Contains(first, "git.corp") || !strings.Contains(first, "CONNECT npm.corp.example:443") || strings.Contains(second, "npm.corp") || strings.Contains(first+second, "example.net") {
		t.Errorf("by the wrong proxy:\n%s\n%s", first, second)
	}
	for _, o := range []*world.Origin{direct, clear} {
		if !s.w.Reached(o) {
			t.Errorf("%s was not reached directly", o.Name)
		}
	}
	// No name was looked up but those that are dialled.
	for _, name := range []string{"web.corp.example", "clear.corp.example", "git.corp.example", "npm.corp.example", "banner.corp.example"} {
		if s.w.Asked(name) {
			t.Errorf("the host asked DNS for %s", name)
		}
	}
	p.wantNoPassword(s.password, r)

	// What the file says wrongly, or does not say, is no way out.
	for _, name := range []string{"undeclared", "loop", "nothing"} {
		s.w.HTTPS(name+".example.net", world.Text("reached"))
	}
	r = p.Sh("for x in undeclared loop nothing; do curl -sS -w ' %{http_code}\\n' https://$x.example.net/; done")
	world.WantOutput(t, r, 0, "upstream auto (its PAC file) failed for undeclared.example.net:443: it names http://other.example:8080, which is none of one, two, down, direct",
		"failed for loop.example.net:443: line 11: it takes more than 2000000 steps", "failed for nothing.example.net:443: line 12: FindProxyForURL returns no text", "502")
	if strings.Contains(r.Stdout, "reached") || s.w.Asked("undeclared.example.net") || s.w.Asked("other.example") {
		t.Error(r)
	}
	if flows := p.Flows("undeclared.example.net"); len(flows) == 0 || flows[0].Str("via") != "auto" {
		t.Errorf("audit: %v", flows)
	}

	// Nor is what is not among the ways.
	q := pacPen(t, s, "http://one.proxy.example:3128", "http://two.proxy.example:3128", `function FindProxyForURL(url, host) { return host == "web.corp.example" ? "DIRECT" : "PROXY two.proxy.example:3128" }`, "one")
	r = q.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/")
	world.WantOutput(t, r, 0, "it says DIRECT, which is none of one", "it names http://two.proxy.example:3128, which is none of one")

	// A file that the pen can write is not read, and one that is not understood is said.
	q.Egress = strings.Replace(q.Egress, "etc/proxy.pac", "project/proxy.pac", 1)
	q.Home.Write(t, "project/proxy.pac", "function FindProxyForURL(url, host) { return 'DIRECT' }")
	if r := q.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "use the PAC file of upstream auto (") || !strings.Contains(r.Stderr, "where a tool in a pen can change it") {
		t.Error(r)
	}
	q.Egress = strings.Replace(q.Egress, "project/proxy.pac", "etc/proxy.pac", 1)
	q.Home.Write(t, "etc/proxy.pac", "\nclass A {}\n")
	if r := q.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "etc/proxy.pac: line 2: here class is not understood") {
		t.Error(r)
	}
}

// TestUpstreamPACGuard: a way that the guard refuses is not gone round by the next.
func TestUpstreamPACGuard(t *testing.T) {
	s := newUpstreamScene(t)
	inner := s.w.HTTPS("inner.example.net", world.Text("inner"))
	s.w.Name("inner.example.net", s.w.PrivateAddress())
	one := squid(t, s.w, "one.guard.example", "http", squidLogin{}, inner)
	p := pacPen(t, s, "http://one.guard.example:3128", "http://two.proxy.example:3128", `function FindProxyForURL(url, host) { return "DIRECT; PROXY one.guard.example:3128" }`, "one, direct")
	r := p.Sh("curl -sS https://inner.example.net/")
	if strings.Contains(r.Stdout, "inner\n") || !strings.Contains(r.Stdout, "a private address") || strings.Contains(one.asked(t), "inner") {
		t.Error(r)
	}
}

// TestUpstreamPACURL: a file by its URL, which the proxy gets past its own guard, before
// anything runs and again while it does; what the pen serves, or asks, is none of it.
func TestUpstreamPACURL(t *testing.T) {
	if world.Bare() {
		t.Skip("the hosts are behind a proxy")
	}
	world.Tool(t, "curl")
	w := world.New(t)
	org := w.HTTPS("www.corp.example", world.Text("org"))
	w.Name(org.Name)
	one, two := squid(t, w, "one.pac.example", "http", squidLogin{}, org), squid(t, w, "two.pac.example", "http", squidLogin{}, org)
	by := func(p *proxyServer) string {
		return fmt.Sprintf("function FindProxyForURL(url, host) { return 'PROXY %s:3128' }", p.Name)
	}
	var mu sync.Mutex
	var said *awaited
	var file string
	served := make(chan string, 1000)
	set := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		file = text
	}
	wpad := w.HTTPS("wpad.corp.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if file == "" {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(rw, file)
		served <- file
	}))
	w.HTTPS("steer.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/two":
			set(by(two))
			// When it is asked for once more, the first answer is in force.
			for n := 0; n < 2; {
				select {
				case text := <-served:
					if text == by(two) {
						n++
					}
				case <-r.Context().Done():
					return
				}
			}
		case "/break":
			set("<html>")
			select {
			case <-said.told:
			case <-r.Context().Done():
			}
		}
	}))
	runs := 0
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w.Name(wpad.Name, wpad.Addr)
			set(by(one))
			said = &awaited{line: "the old PAC file is kept: ", told: make(chan struct{})}
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o)}}
			p.Allow = []string{`{host: www.corp.example, via: auto}`, `{host: steer.example.com}`}
			p.Egress = fmt.Sprintf("  upstreams:\n    one: {url: \"http://%s:3128\"}\n    two: {url: \"http://%s:3128\"}\n    auto: {pac: \"https://wpad.corp.example/proxy.pac\", among: [one, two], refresh: 1s}\n", one.Name, two.Name)
			var out bytes.Buffer
			cmd := w.Command(p.Home, p.Opts, world.Penstock(t), "run", "--policy", p.WritePolicy(), "--", "/bin/bash", "-c", `
ask() { curl -sS -o /dev/null -w '%{http_code} ' "$1"; }
ask https://www.corp.example/
ask https://wpad.corp.example/proxy.pac
ask https://wpad.corp.example:443/
ask https://steer.example.com/two
ask https://www.corp.example/
ask https://steer.example.com/break
ask https://www.corp.example/`)
			cmd.Stdout, cmd.Stderr = &out, said
			if err := world.Start(cmd); err != nil {
				t.Fatal(err)
			}
			cmd.Wait() //nolint:errcheck // the exit code tells
			r := world.Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: said.all.String()}
			if r.Code != 0 || r.Stdout != "200 403 403 200 200 200 200 " {
				t.Error(r)
			}
			runs++
			first, second := one.asked(t), two.asked(t)
			if strings.Count(first, "CONNECT www.corp.example:443") != runs || strings.Count(second, "CONNECT www.corp.example:443") < runs || strings.Contains(first+second, "wpad") || w.Reached(org) {
				t.Errorf("not by the two, or the file by a proxy:\n%s\n%s", first, second)
			}
			show := w.Run(p.Home, p.Opts, world.Penstock(t), "audit", "show", "--events")
			recorded := strings.Join(strings.Fields(show.Stdout), " ")
			for _, want := range []string{"pac auto read ", "pac auto renewed ", "pac auto failed use the PAC file of upstream auto ("} {
				if !strings.Contains(recorded, want) {
					t.Errorf("not recorded: %q\n%s", want, show)
				}
			}
			if v := w.Run(p.Home, p.Opts, world.Penstock(t), "audit", "verify"); v.Code != 0 {
				t.Error(v)
			}
			// None at the start: nothing runs, and it is said where and what to do.
			set("")
			r = p.Sh("echo started")
			if r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, "pac: https://wpad.corp.example:443/proxy.pac: the answer has status 503") || !strings.Contains(r.Stderr, "policy.yaml:") {
				t.Error(r)
			}
			if !strings.Contains(r.Stderr, "keep the file on this machine and name its path: pac: PATH") {
				t.Errorf("no remedy: %s", r)
			}
			// A private address is one that the policy names, in a supervised session for the
			// kernel's guard, too.
			set(by(one))
			private := w.PrivateAddress()
			w.Name(wpad.Name, private)
			if r := p.Sh("echo started"); r.Code != 125 || !strings.Contains(r.Stderr, "refused: it resolves to "+private.String()+", a private address") || !strings.Contains(r.Stderr, `addresses: ["`+private.String()+`"] in egress.upstreams.auto would allow it`) {
				t.Error(r)
			}
		})
	}
}
