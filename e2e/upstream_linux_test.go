package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// proxyServer is a real proxy of the network.
type proxyServer struct {
	*world.Origin
	log string // file with what it was asked
}

// asked returns the proxy's own log.
func (s *proxyServer) asked(t *testing.T) string { return world.ReadFile(t, s.log) }

// squidLogin is how a squid wants its users to log in: lines of its configuration,
// for which files can be written, and variables of its environment.
type squidLogin struct {
	conf func(write func(file, text string) string) string
	env  []string
	// clients is a file of authorities: every client has to show a certificate.
	clients string
}

// basicLogin lets one user in by password; nobody is asked without one.
func basicLogin(t *testing.T, user, password string) squidLogin {
	t.Helper()
	if password == "" {
		return squidLogin{}
	}
	out, err := exec.Command(world.Tool(t, "openssl"), "passwd", "-apr1", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return squidLogin{conf: func(write func(file, text string) string) string {
		return "auth_param basic program /usr/lib/squid/basic_ncsa_auth " + write("passwd", user+":"+string(out)) + "\nauth_param basic realm corp\n"
	}}
}

// squid starts a squid at a name of its own. kind is http or https.
func squid(t *testing.T, w *world.World, name, kind string, login squidLogin, known ...*world.Origin) *proxyServer {
	t.Helper()
	return squidAt(t, w, w.Place(name, 3128), kind, login, known...)
}

// squidAt is squid at a place that w holds.
func squidAt(t *testing.T, w *world.World, o *world.Origin, kind string, login squidLogin, known ...*world.Origin) *proxyServer {
	t.Helper()
	prog, name := world.Tool(t, "squid"), o.Name
	dir := serverDir(t)
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var hosts strings.Builder
	for _, k := range known {
		fmt.Fprintf(&hosts, "%s %s\n", k.Addr, k.Name)
	}
	var conf strings.Builder
	if kind == "https" {
		cert, key := pemOf(t, w.Certificate(name))
		fmt.Fprintf(&conf, "https_port %s:3128 tls-cert=%s", o.Addr, write("cert.pem", key+cert))
		if login.clients != "" {
			fmt.Fprintf(&conf, " clientca=%s", write("clients.pem", world.ReadFile(t, login.clients)))
		}
		conf.WriteString("\n")
	} else {
		fmt.Fprintf(&conf, "http_port %s:3128\n", o.Addr)
	}
	if login.conf != nil {
		conf.WriteString(login.conf(write) + "acl known proxy_auth REQUIRED\nhttp_access deny !known\n")
	}
	fmt.Fprintf(&conf, `acl forbidden dstdomain forbidden.corp.example
http_access deny forbidden
http_access allow all
hosts_file %s
cache deny all
strip_query_terms off
cache_mem 8 MB
pid_filename none
access_log stdio:%[2]s/access.log
cache_log %[2]s/cache.log
coredump_dir %[2]s
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname %[3]s
`, write("hosts", hosts.String()), dir, name)
	path := write("squid.conf", conf.String())
	_, attr := serverUser(t, dir)
	// Its shared memory is named by this: a squid that was killed leaves its own.
	service := strings.ToLower(rand.Text())
	t.Cleanup(func() {
		left, _ := filepath.Glob("/dev/shm/" + service + "-*")
		for _, name := range left {
			os.Remove(name)
		}
	})
	cmd := exec.Command(prog, "-N", "-n", service, "-f", path)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = attr, dir, append(os.Environ(), login.env...)
	w.Start(cmd)
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(dir, "cache.log"))
			t.Logf("squid: %s", b)
		}
	})
	w.WaitFor(o, 20*time.Second)
	return &proxyServer{o, filepath.Join(dir, "access.log")}
}

// pemOf returns a certificate and its key as PEM.
func pemOf(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range c.Certificate {
		cert += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one}))
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// wantVia fails unless the flows to the origin were recorded as via the upstream
// before they left, and nothing of ours went to the origin but through it. known
// says that the proxy itself asks DNS for its name.
func (p *pen) wantVia(o *world.Origin, upstream string, known bool) {
	p.T.Helper()
	if o.Hits() == 0 {
		p.T.Errorf("nothing arrived at %s", o.Name)
	}
	if p.W.Reached(o) {
		p.T.Errorf("packets for %s came from the host itself: %v", o.Name, p.W.Outside())
	}
	if !known && p.W.Asked(o.Name) {
		p.T.Errorf("the host asked DNS for %s", o.Name)
	}
	n := 0
	for _, f := range p.Flows(o.Name) {
		if f.Str("verdict") != "allow" {
			continue
		}
		if n++; f.Str("via") != upstream {
			p.T.Errorf("audit: flow to %s via %q, want %s: %v", o.Name, f.Str("via"), upstream, f)
		}
	}
	if n == 0 {
		p.T.Errorf("audit has no allowed flow to %s", o.Name)
	}
}

// wantNoPassword fails if the proxy's password is in what the pen, a log or the
// audit could have it from.
func (p *pen) wantNoPassword(password string, results ...world.Result) {
	p.T.Helper()
	for _, r := range results {
		if strings.Contains(r.Stdout+r.Stderr, password) {
			p.T.Errorf("the proxy's password is in the output\n%s", r)
		}
	}
	err := filepath.WalkDir(p.Home.Path, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), password) {
			p.T.Errorf("the proxy's password is in %s", path)
		}
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

// upstreamScene has origins that only a proxy knows.
type upstreamScene struct {
	w        *world.World
	password string          // in PROXY_LOGIN
	all      []*world.Origin // that are reached
	resolves bool            // the proxy asks DNS
	refuse   *world.Origin   // that the proxy lets nobody reach
}

func newUpstreamScene(t *testing.T) *upstreamScene {
	t.Helper()
	if world.Bare() {
		t.Skip("the hosts are behind a proxy")
	}
	world.Tool(t, "curl")
	world.Tool(t, "npm")
	w := world.New(t)
	answer := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(rw, "%s %s %s got %d, login %q\n", r.Proto, r.Host, r.RequestURI, n, r.Header["Proxy-Authorization"])
	})
	s := &upstreamScene{w: w, password: rand.Text(), all: []*world.Origin{
		w.HTTPS("web.corp.example", answer), w.HTTP("clear.corp.example", answer), w.HTTPS("git.corp.example", world.GitServer(t, t.TempDir())),
		w.HTTPS("npm.corp.example", world.NpmRegistry(t, "https://npm.corp.example", "https://npm.corp.example")),
		w.HTTPS("ws.corp.example", wsEcho()), w.HTTP("ws-clear.corp.example", wsEcho()), w.HTTPS("unread.example.net", answer),
		w.TCP("banner.corp.example", 2525, func(c net.Conn) {
			io.WriteString(c, "220 hello\n") // speaks first
			io.Copy(c, c)
		}),
	}}
	s.refuse = w.HTTPS("forbidden.corp.example", answer)
	for _, o := range s.known() {
		w.Name(o.Name) // no DNS has it
	}
	return s
}

func (s *upstreamScene) known() []*world.Origin { return append([]*world.Origin{s.refuse}, s.all...) }

// pen is one that reaches the scene by an upstream.
func (s *upstreamScene) pen(t *testing.T, upstream string) *pen {
	t.Helper()
	p := newPen(t, s.w)
	p.Allow = []string{`{host: "*.corp.example", via: corp}`, `{host: banner.corp.example, ports: [2525], protocol: tcp}`, `{host: unread.example.net, inspect: false, via: corp}`}
	p.Egress = "  upstreams:\n    corp: " + upstream + "\n"
	if strings.Contains(upstream, "PROXY_LOGIN") {
		p.Opts.Env = append(p.Opts.Env, "PROXY_LOGIN="+s.password)
	}
	p.Flags = []string{"--env", "*"} // passes everything but that
	return p
}

// everything goes through the upstream, by the proxy's own log, too: both HTTP
// versions, clear text, uploads, git (clone, fetch), npm, WebSocket, raw TCP whose
// server speaks first, and TLS that is not read.
func (s *upstreamScene) everything(t *testing.T, p *pen, proxy *proxyServer) {
	t.Helper()
	p.NpmProject("npm.corp.example")
	p.Home.Write(t, "project/upload", strings.Repeat("u", 3<<20))
	results := []world.Result{
		p.Sh(`set -e
curl -sS --http1.1 https://web.corp.example/one && curl -sS --http2 https://web.corp.example/two
curl -sS --data-binary @upload https://web.corp.example/up https://web.corp.example/up2
curl -sS 'http://clear.corp.example/plain?a=b' http://clear.corp.example/again -H 'Proxy-Authorization: Basic mine'
curl -sS --data-binary @upload http://clear.corp.example/up
curl -sS --http2-prior-knowledge http://clear.corp.example/h2c
curl -sS https://unread.example.net/unread
git clone -q https://git.corp.example/repo.git && cat repo/file && git -C repo fetch origin 2>&1 && echo fetched
npm install --silent left-pen && cat node_modules/left-pen/index.js
exec 3<>/dev/tcp/banner.corp.example/2525 && read -r -u 3 line && echo "$line" && echo ping >&3 && read -r -u 3 line && echo "$line"
env; cat /proc/*/environ | tr '\0' '\n'`),
		p.Run(p.self(), "client:ws", "wss://ws.corp.example/chat"),
		p.Run(p.self(), "client:ws", "ws://ws-clear.corp.example/chat"),
	}
	world.WantOutput(t, results[0], 0, "HTTP/1.1 web.corp.example /one got 0, login []", "HTTP/2.0 web.corp.example /two", "/up got 3145728", "/up2 got 3145728",
		"HTTP/1.1 clear.corp.example /plain?a=b got 0, login []", "clear.corp.example /again", "clear.corp.example /up got 3145728", "HTTP/2.0 clear.corp.example /h2c",
		"unread.example.net /unread", "seed-content", "fetched", "from-the-registry", "220 hello\nping\n")
	world.WantOutput(t, results[1], 0, "echoed")
	world.WantOutput(t, results[2], 0, "echoed")
	log := proxy.asked(t)
	for _, o := range s.all {
		p.wantVia(o, "corp", s.resolves)
		if !strings.Contains(log, o.Name) && !strings.Contains(log, o.Addr.String()) {
			t.Errorf("%s is not in the proxy's log:\n%s", o.Name, log)
		}
	}
	p.wantNoPassword(s.password, results...)
}

func TestUpstreamSquid(t *testing.T) {
	for _, c := range []struct{ name, kind, login string }{
		{"http", "http", ""}, {"basic", "http", `, user: corp, from: "env:PROXY_LOGIN"`}, {"https", "https", `, user: corp, from: "env:PROXY_LOGIN"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newUpstreamScene(t)
			password := ""
			if c.login != "" {
				password = s.password
			}
			proxy := squid(t, s.w, "proxy."+c.name+".example", c.kind, basicLogin(t, "corp", password), s.known()...)
			url := c.kind + "://" + proxy.Name + ":3128"
			p := s.pen(t, fmt.Sprintf("{url: %q%s}", url, c.login))
			s.everything(t, p, proxy)
			log := proxy.asked(t)
			for _, want := range []string{"CONNECT web.corp.example:443", "GET http://clear.corp.example/plain?a=b", "CONNECT banner.corp.example:2525", "CONNECT clear.corp.example:80", "CONNECT ws-clear.corp.example:80"} {
				if !strings.Contains(log, want) {
					t.Errorf("squid was not asked for %s:\n%s", want, log)
				}
			}
			// What the proxy refuses is explained.
			r := p.Sh("curl -sS -w '%{http_code}' https://forbidden.corp.example/; curl -sS -w '%{http_code}' http://forbidden.corp.example/; curl -sS -w '%{http_code}' https://unknown.corp.example/")
			world.WantOutput(t, r, 0, "upstream corp ("+url+") refused for forbidden.corp.example:443: it answered 403 (Forbidden), ERR_ACCESS_DENIED",
				"refused for forbidden.corp.example:80: it answered 403 (Forbidden), ERR_ACCESS_DENIED (who runs the proxy decides that; via: in a rule chooses another way)",
				"refused for unknown.corp.example:443: it answered 50", "is the target known and open there?", "502")
			if s.refuse.Hits() != 0 {
				t.Error("the refused origin was reached")
			}
			p.wantNoPassword(s.password, r)
		})
	}
}

// socks starts a SOCKS5 server at a name: microsocks, or dante without login.
func socks(t *testing.T, w *world.World, name, program, password string) *proxyServer {
	t.Helper()
	prog := world.Tool(t, program)
	o := w.Place(name, 1080)
	dir := serverDir(t)
	log := filepath.Join(dir, "log")
	argv := []string{"-i", o.Addr.String(), "-p", "1080"}
	if password != "" {
		argv = append(argv, "-u", "corp", "-P", password)
	}
	if program == "danted" {
		conf := filepath.Join(dir, "danted.conf")
		if err := os.WriteFile(conf, []byte(fmt.Sprintf("logoutput: %s\ninternal: %s port = 1080\nexternal: %[2]s\nclientmethod: none\nsocksmethod: none\nclient pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 log: connect }\n", log, o.Addr)), 0o644); err != nil {
			t.Fatal(err)
		}
		argv = []string{"-f", conf, "-p", filepath.Join(dir, "pid")}
	}
	_, attr := serverUser(t, dir)
	cmd := exec.Command(prog, argv...)
	cmd.SysProcAttr, cmd.Dir = attr, dir
	if program != "danted" {
		f, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Stderr = f
	}
	w.Start(cmd)
	t.Cleanup(func() {
		if b, err := os.ReadFile(log); t.Failed() && err == nil {
			t.Logf("%s: %s", program, b)
		}
	})
	w.WaitFor(o, 20*time.Second)
	return &proxyServer{o, log}
}

// The names are resolved at the proxy: here by the internet's DNS, as the proxy
// has no other, so whether the host asked for them can't be told apart.
func TestUpstreamSOCKS(t *testing.T) {
	for _, c := range []struct{ name, program, login string }{
		{"microsocks", "microsocks", ""}, {"password", "microsocks", `, user: corp, from: "env:PROXY_LOGIN"`}, {"dante", "danted", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newUpstreamScene(t)
			password := ""
			if c.login != "" {
				password = s.password
			}
			proxy := socks(t, s.w, "socks."+c.name+".example", c.program, password)
			for _, o := range s.known() {
				s.w.Name(o.Name, o.Addr)
			}
			s.resolves = true
			url := "socks5://" + proxy.Name + ":1080"
			p := s.pen(t, fmt.Sprintf("{url: %q%s}", url, c.login))
			s.everything(t, p, proxy)
			r := p.Sh("curl -sS -w '%{http_code}' https://unknown.corp.example/")
			world.WantOutput(t, r, 0, "upstream corp ("+url+") refused for unknown.corp.example:443: ", "is the target known and open there?", "502")
			if c.login != "" {
				p.Opts.Env = append(p.Opts.Env, "PROXY_LOGIN=wrong-"+s.password)
				world.WantOutput(t, p.Sh("curl -sS https://web.corp.example/"), 0, "it did not accept the user and password", "look at what from: in egress.upstreams.corp names")
			}
			p.wantNoPassword(s.password, r)
		})
	}
}

// TestProxyGuide runs the example of docs/proxies.md as it stands.
func TestProxyGuide(t *testing.T) {
	if world.Bare() {
		t.Skip("the hosts are behind a proxy")
	}
	world.Tool(t, "curl")
	_, example, _ := strings.Cut(world.ReadFile(t, "../docs/proxies.md"), "```yaml\n")
	example, _, _ = strings.Cut(example, "```\n")
	w := world.New(t)
	org, lab, partner := w.HTTPS("www.example.org", world.Text("org")), w.HTTPS("build.lab.example", world.Text("lab")), w.HTTPS("partner.example.net", world.Text("partner"))
	w.Name(org.Name)
	password := rand.Text()
	// The first of the two proxies is down.
	w.Name("proxy.corp.example", w.PrivateAddress())
	proxy := squidAt(t, w, &world.Origin{Name: "proxy2.corp.example", Addr: w.PrivateAddress(), Port: 3128}, "http", basicLogin(t, "agent", password), org)
	w.Name(proxy.Name, proxy.Addr)
	p := newPen(t, w)
	p.Whole = example
	p.Flags = []string{"--ca", w.CA()}
	p.Opts.Env = append(p.Opts.Env, "CORP_PROXY_PASSWORD="+password)
	r := p.Sh("curl -sS https://www.example.org/ https://build.lab.example/ https://partner.example.net/; curl -sS -o /dev/null -w '%{http_code}' https://other.example/")
	world.WantOutput(t, r, 0, "orglabpartner403")
	p.wantVia(org, "corp", false)
	for _, o := range []*world.Origin{lab, partner} {
		if !p.W.Reached(o) || p.Flows(o.Name)[0].Str("via") != "" {
			t.Errorf("%s was not reached directly", o.Name)
		}
	}
	p.wantNoPassword(password, r)
	for via, want := range map[string]*world.Origin{"corp": org, "direct": partner} {
		out := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--format", "csv", "--via", via)
		has := func(name string) bool { return strings.Contains(out.Stdout, `"https","`+name+`","443"`) }
		if out.Code != 0 || !has(want.Name) || has(org.Name) != (want == org) || has("other.example") {
			t.Errorf("audit export --via %s: %s", via, out)
		}
	}

	// Without the variable nothing starts, and what is missing is said.
	p.Opts.Env = nil
	r = p.Run("true")
	if r.Code != 125 || !strings.Contains(r.Stderr, "use upstream corp (") || !strings.Contains(r.Stderr, "variable CORP_PROXY_PASSWORD is empty or not set") {
		t.Errorf("without the password: %s", r)
	}
}

// TestUpstreamLogin: a proxy's own request for a login is explained and does not
// reach the tool; a private proxy needs its addresses.
func TestUpstreamLogin(t *testing.T) {
	s := newUpstreamScene(t)
	proxy := squid(t, s.w, "proxy.login.example", "http", basicLogin(t, "corp", s.password), s.known()...)
	url := "http://" + proxy.Name + ":3128"
	ask := "curl -sS -w '%{http_code}' https://web.corp.example/ http://clear.corp.example/"
	p := s.pen(t, fmt.Sprintf("{url: %q}", url))
	r := p.Sh(ask)
	world.WantOutput(t, r, 0, "it answered 407 (Proxy Authentication Required), ERR_CACHE_ACCESS_DENIED, login by Basic (the proxy wants credentials: name where they are by from: in egress.upstreams.corp)", "502")
	p = s.pen(t, fmt.Sprintf("{url: %q, from: \"file:project/login\"}", url))
	p.Home.Write(t, "project/login", "corp:wrong-"+s.password+"\n")
	r = p.Sh(ask + "; cat login")
	world.WantOutput(t, r, 1, "the proxy did not accept the credentials: look at what from: in egress.upstreams.corp names", "502")
	if strings.Contains(r.Stdout+r.Stderr, s.password) {
		t.Errorf("the pen reads the password's file: %s", r)
	}
	p.Home.Write(t, "project/login", "corp:"+s.password+"\n")
	world.WantOutput(t, p.Sh(ask), 0, "web.corp.example / got 0", "clear.corp.example / got 0", "200")
	private := s.w.PrivateAddress()
	s.w.Name("private.login.example", private)
	p = s.pen(t, `{url: "http://private.login.example:3128"}`)
	world.WantOutput(t, p.Sh(ask), 0, "\nupstream corp (http://private.login.example:3128) failed: dial \"private.login.example\": refused: it resolves to "+private.String()+", a private address", `addresses: ["`+private.String()+`"] in egress.upstreams.corp would allow it`)
}

// TestUpstreamSupervised: the same under the privileged supervisor, whose kernel
// programs let its proxies reach a private address only if the policy names it.
func TestUpstreamSupervised(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root runs the privileged supervisor")
	}
	s := newUpstreamScene(t)
	place := &world.Origin{Name: "proxy.supervised.example", Addr: s.w.PrivateAddress(), Port: 3128}
	s.w.Name(place.Name, place.Addr)
	squidAt(t, s.w, place, "http", basicLogin(t, "corp", s.password), s.known()...)
	opts := world.Options{User: true, Supervised: true, Env: []string{"PROXY_LOGIN=" + s.password}}
	p := &pen{&world.Pen{T: t, W: s.w, Opts: opts, Home: s.w.NewHome(opts)}}
	p.Allow = []string{`{host: "*.corp.example", via: corp}`}
	p.Egress = fmt.Sprintf("  upstreams:\n    corp: {url: \"http://%s:3128\", user: corp, from: \"env:PROXY_LOGIN\", addresses: [%s]}\n", place.Name, place.Addr)
	r := p.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/")
	world.WantOutput(t, r, 0, "web.corp.example / got 0", "clear.corp.example / got 0")
	p.wantNoPassword(s.password, r)
	// By a PAC file, too, which only the caller can read.
	direct := p.Egress
	p.chmod(p.Home.Write(t, "etc/proxy.pac", fmt.Sprintf(`function FindProxyForURL(url, host) { return "PROXY %s:3128" }`, place.Name)), 0o600)
	p.Allow = []string{`{host: "*.corp.example", via: auto}`}
	p.Egress += fmt.Sprintf("    auto: {pac: %q, among: [corp]}\n", filepath.Join(p.Home.Path, "etc/proxy.pac"))
	world.WantOutput(t, p.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/"), 0, "web.corp.example / got 0", "clear.corp.example / got 0")
	p.Allow, p.Egress = []string{`{host: "*.corp.example", via: corp}`}, direct
	// Without its addresses the guards refuse it.
	p.Egress = strings.Replace(p.Egress, ", addresses: ["+place.Addr.String()+"]", "", 1)
	world.WantOutput(t, p.Sh("curl -sS https://web.corp.example/"), 0, "refused: it resolves to "+place.Addr.String())
	if r := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "verify"); r.Code != 0 {
		t.Errorf("audit verify: %s", r)
	}
}
