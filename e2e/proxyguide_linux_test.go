package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// guideScene is the company of docs/proxies.md: proxies at private addresses, and what
// is behind them.
type guideScene struct {
	w        *world.World
	password string
	org      *world.Origin // that only the proxies know
	pen      *pen
}

func newGuideScene(t *testing.T, heading string) *guideScene {
	t.Helper()
	if world.Bare() {
		t.Skip("the hosts are behind a proxy")
	}
	world.Tool(t, "curl")
	world.Tool(t, "git")
	_, rest, ok := strings.Cut(world.ReadFile(t, "../docs/proxies.md"), "\n## "+heading+"\n")
	_, example, _ := strings.Cut(rest, "```yaml\n")
	example, _, _ = strings.Cut(example, "```\n")
	if !ok || example == "" {
		t.Fatalf("docs/proxies.md has no example under %q", heading)
	}
	w := world.New(t)
	s := &guideScene{w: w, password: rand.Text(), org: w.HTTPS("www.example.org", world.GitServer(t, t.TempDir())), pen: newPen(t, w)}
	w.Name(s.org.Name)
	if !strings.Contains(example, "  allow:\n") {
		example += "  allow: [{host: \"*.example.org\"}]\n"
	}
	s.pen.Whole = example
	s.pen.Flags = []string{"--ca", w.CA()}
	return s
}

// proxy starts a squid at a name and a private address.
func (s *guideScene) proxy(t *testing.T, name, kind string, login squidLogin) *proxyServer {
	t.Helper()
	o := &world.Origin{Name: name, Addr: s.w.PrivateAddress(), Port: 3128}
	s.w.Name(name, o.Addr)
	return squidAt(t, s.w, o, kind, login, s.org)
}

// works clones a repository by the proxy.
func (s *guideScene) works(t *testing.T) {
	t.Helper()
	r := s.pen.Sh("git clone -q https://www.example.org/repo.git && cat repo/file && curl -sS -o /dev/null -w '%{http_code}' https://other.example/")
	world.WantOutput(t, r, 0, "seed-content", "403")
	if s.w.Reached(s.org) || s.w.Asked(s.org.Name) {
		t.Error("it was reached directly, or looked up")
	}
	s.pen.wantNoPassword(s.password, r)
}

// TestProxyGuideNTLM, and those below, run the examples of docs/proxies.md as they stand.
func TestProxyGuideNTLM(t *testing.T) {
	s := newGuideScene(t, "NTLM")
	p := s.proxy(t, "proxy.corp.example", "http", ntlmLogin(t, s.password))
	s.pen.Opts.Env = append(s.pen.Opts.Env, "CORP_PROXY_PASSWORD="+s.password)
	s.works(t)
	if log := p.asked(t); !strings.Contains(log, `CONNECT www.example.org:443 CORP\\agent `) {
		t.Error(log)
	}
}

func TestProxyGuidePACURL(t *testing.T) {
	s := newGuideScene(t, "A PAC file by its URL")
	p := s.proxy(t, "proxy.corp.example", "http", squidLogin{})
	const name = "wpad.corp.example"
	private := s.w.PrivateAddress()
	s.w.Name(name, private)
	server := &http.Server{
		Handler:   world.Text(`function FindProxyForURL(url, host) { return "PROXY proxy.corp.example:3128" }`),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.w.Certificate(name)}},
	}
	go server.ServeTLS(s.w.ListenAt(private, 443), "", "") //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
	s.works(t)
	if log := p.asked(t); !strings.Contains(log, "CONNECT www.example.org:443 ") || strings.Contains(log, name) {
		t.Error(log)
	}
}

func TestProxyGuideKeyring(t *testing.T) {
	s := newGuideScene(t, "A password in the keyring")
	p := s.proxy(t, "proxy.corp.example", "http", basicLogin(t, "agent", s.password))
	k := newKeyring(t, s.w, s.pen.Home, s.pen.Opts)
	k.Unlock("password")
	k.Store("Proxy", s.password, "service", "proxy", "account", "agent")
	s.pen.Opts.Env = append(s.pen.Opts.Env, "DBUS_SESSION_BUS_ADDRESS="+k.Address)
	s.works(t)
	if log := p.asked(t); !strings.Contains(log, "CONNECT www.example.org:443 agent ") {
		t.Error(log)
	}
}

func TestProxyGuideCertificates(t *testing.T) {
	s := newGuideScene(t, "Certificates")
	s.proxy(t, "proxy.corp.example", "https", squidLogin{clients: s.w.CA()})
	cert, key := pemOf(t, s.w.Certificate("agent.corp.example"))
	s.pen.Home.Write(t, ".config/corp/ca.pem", world.ReadFile(t, s.w.CA()))
	s.pen.Home.Write(t, ".config/corp/agent.pem", cert)
	s.pen.chmod(s.pen.Home.Write(t, ".config/corp/agent.key", key), 0o600)
	s.works(t)
}

func TestProxyGuideKerberos(t *testing.T) {
	s := newGuideScene(t, "Kerberos")
	k := newKDC(t, s.w, "kdc2.corp.example")
	keytab := filepath.Join(k.dir, "http.keytab")
	k.tool(t, "kadmin.local", "-r", realm, "-q", "addprinc -pw "+s.password+" agent")
	k.tool(t, "kadmin.local", "-r", realm, "-q", "addprinc -randkey HTTP/proxy.corp.example")
	k.tool(t, "kadmin.local", "-r", realm, "-q", "ktadd -k "+keytab+" HTTP/proxy.corp.example")
	k.start(t)
	// The first KDC is down, and the second not at a port of root's.
	s.w.Name("kdc1.corp.example", s.w.PrivateAddress())
	s.pen.Whole = strings.Replace(s.pen.Whole, k.Name, k.Name+":8888", 1)
	p := s.proxy(t, "proxy.corp.example", "http", squidLogin{env: k.env, conf: func(func(file, text string) string) string {
		return "auth_param negotiate program /usr/lib/squid/negotiate_kerberos_auth -k " + keytab + " -s HTTP/proxy.corp.example@" + realm + "\n"
	}})
	s.pen.Opts.Env = append(s.pen.Opts.Env, "KRB5CCNAME=FILE:"+k.kinit(t, s.pen, s.password))
	s.works(t)
	if log := p.asked(t); !strings.Contains(log, " agent@"+realm+" ") {
		t.Error(log)
	}
}

func TestProxyGuidePAC(t *testing.T) {
	s := newGuideScene(t, "PAC files")
	lab := s.w.HTTPS("build.lab.example", world.Text("lab"))
	s.w.Name("proxy.corp.example", s.w.PrivateAddress()) // where nobody is
	spare := s.proxy(t, "proxy2.corp.example", "http", basicLogin(t, "agent", s.password))
	s.pen.Home.Write(t, ".config/corp/proxy.pac", `function FindProxyForURL(url, host) {
	if (dnsDomainIs(host, ".lab.example") && isInNet(myIpAddress(), "10.1.0.0", "255.255.0.0")) return "DIRECT";
	return "PROXY proxy.corp.example:3128; PROXY proxy2.corp.example:3128";
}`)
	s.pen.Opts.Env = append(s.pen.Opts.Env, "CORP_PROXY_PASSWORD="+s.password)
	s.works(t)
	world.WantOutput(t, s.pen.Sh("curl -sS https://build.lab.example/"), 0, "lab")
	if log := spare.asked(t); !s.w.Reached(lab) || !strings.Contains(log, "CONNECT www.example.org:443 agent ") || strings.Contains(log, "lab") {
		t.Error(log)
	}
	r := s.w.Run(s.pen.Home, s.pen.Opts, world.Penstock(t), "policy", "explain", "--policy", s.pen.WritePolicy(), "https://www.example.org/")
	if want := fmt.Sprintf("via upstream %s, whose file chooses among corp, spare, direct", "auto"); !strings.Contains(r.Stdout, want) {
		t.Error(r)
	}
}
