package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// clientCert is a certificate of the world's authority for a home's user, in files
// outside of the work directory. It returns their names and the key.
func (p *pen) clientCert() (cert, key, secret string) {
	p.T.Helper()
	c, k := pemOf(p.T, p.W.Certificate("agent.corp.example"))
	p.Home.Write(p.T, "keys/agent.pem", c)
	p.Home.Write(p.T, "keys/agent.key", k)
	cert, key = filepath.Join(p.Home.Path, "keys/agent.pem"), filepath.Join(p.Home.Path, "keys/agent.key")
	p.chmod(key, 0o600)
	return cert, key, strings.Split(k, "\n")[1]
}

func (p *pen) chmod(file string, mode os.FileMode) {
	p.T.Helper()
	if err := os.Chmod(file, mode); err != nil {
		p.T.Fatal(err)
	}
}

// TestUpstreamCertificate: a squid that lets in who shows a certificate.
func TestUpstreamCertificate(t *testing.T) {
	s := newUpstreamScene(t)
	proxy := squid(t, s.w, "proxy.mtls.example", "https", squidLogin{clients: s.w.CA()}, s.known()...)
	url := "https://" + proxy.Name + ":3128"
	p := s.pen(t, fmt.Sprintf("{url: %q}", url))
	ask := "curl -sS https://web.corp.example/ http://clear.corp.example/"
	r := p.Sh(ask)
	const hint = "(the proxy wants a certificate: name it by client_cert: and client_key: in egress.upstreams.corp)"
	if strings.Count(r.Stdout, hint) != 2 || strings.Count(r.Stdout, "upstream corp ("+url+") failed") != 2 {
		t.Errorf("without a certificate: %s", r)
	}

	cert, key, secret := p.clientCert()
	q := s.pen(t, fmt.Sprintf("{url: %q, client_cert: %q, client_key: %q}", url, cert, key))
	q.Home = p.Home
	s.everything(t, q, proxy)
	r = q.Sh("cat " + key + "; cat ~/keys/*; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")
	if strings.Contains(r.Stdout+r.Stderr, secret) {
		t.Errorf("the pen has the key: %s", r)
	}
	out := q.W.Run(q.Home, q.Opts, world.Penstock(t), "audit", "export", "--all")
	if out.Code != 0 || strings.Contains(out.Stdout, secret) || !strings.Contains(out.Stdout, "proxy.mtls.example") {
		t.Error("the key is in the audit")
	}

	// What can't be a key is said before anything starts.
	fails := func(entry, want string) {
		t.Helper()
		o := s.pen(t, entry)
		o.Home = p.Home
		if r := o.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, want) || strings.Contains(r.Stderr, secret) {
			t.Errorf("want %q: %s", want, r)
		}
	}
	entry := fmt.Sprintf("{url: %q, client_cert: %q, client_key: %%q}", url, cert)
	p.chmod(key, 0o644)
	fails(fmt.Sprintf(entry, key), "the key could be read or changed by others (mode 0644)")
	p.chmod(key, 0o600)
	inside := filepath.Join(p.Home.Path, "project/agent.key")
	p.Home.Write(t, "project/agent.key", world.ReadFile(t, key))
	p.chmod(inside, 0o600)
	fails(fmt.Sprintf(entry, inside), "where a tool in a pen can change it")
	link := filepath.Join(p.Home.Path, "keys/link.key")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	fails(fmt.Sprintf(entry, link), "where a tool in a pen can change it")
	fails(fmt.Sprintf(entry, filepath.Join(p.Home.Path, "keys/none")), "use the certificate of upstream corp (")
	_, other := pemOf(t, s.w.Certificate("other.example"))
	p.Home.Write(t, "keys/other.key", other)
	p.chmod(filepath.Join(p.Home.Path, "keys/other.key"), 0o600)
	fails(fmt.Sprintf(entry, filepath.Join(p.Home.Path, "keys/other.key")), "private key does not match public key")
	p.Home.Write(t, "keys/locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
	p.chmod(filepath.Join(p.Home.Path, "keys/locked.key"), 0o600)
	fails(fmt.Sprintf(entry, filepath.Join(p.Home.Path, "keys/locked.key")), "the key is encrypted")
}

// TestWebhookCertificate: a webhook that answers who shows a certificate; for a pen of
// an ordinary user, of root and under the privileged supervisor.
func TestWebhookCertificate(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o)}}
			w.HTTPS("api.example.com", world.Text("api"))
			w.MutualHTTPS("hooks.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				var q struct{ ID string }
				if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
					t.Error(err)
				}
				rw.Header().Set("Content-Type", "application/json")
				json.NewEncoder(rw).Encode(map[string]any{"version": 1, "id": q.ID, "decision": "deny", "reason": "asked by " + r.TLS.PeerCertificates[0].DNSNames[0]})
			}))
			cert, key, secret := p.clientCert()
			p.Opts.Env = append(p.Opts.Env, "SOC_KEY=0123456789abcdef0123")
			p.Allow = []string{"{host: api.example.com}"}
			hook := `{name: soc, on: [request], http: "https://hooks.example.com/penstock", key: "env:SOC_KEY", timeout: 20s`
			p.Hooks = []string{fmt.Sprintf("%s, client_cert: %q, client_key: %q}", hook, cert, key)}
			r := p.Sh("curl -sS https://api.example.com/; cat " + key)
			if !strings.Contains(r.Stdout, "denied by hook soc: asked by agent.corp.example") || strings.Contains(r.Stdout, secret) {
				t.Error(r)
			}
			p.Hooks = []string{hook + "}"}
			if r := p.Sh("curl -sS https://api.example.com/"); !strings.Contains(r.Stdout, "hook soc failed, which denies: it can't be asked: ") {
				t.Error(r)
			}
		})
	}
}
