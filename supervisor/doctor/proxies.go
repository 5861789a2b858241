package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor"
)

// setProxy is a proxy that the environment or the system names.
type setProxy struct {
	where string // variable, or file
	value string
}

// proxyVariable is what most tools look at, in the order of their choice for https.
func proxyVariables() []string {
	return []string{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"}
}

// fileVariables name the URL of a PAC file, for Chromium and a few others.
func fileVariables() []string { return []string{"auto_proxy", "AUTO_PROXY"} }

// discover looks for proxies and PAC files in the environment and in files of the
// system, and for what is excepted from them.
func discover(getenv func(string) string, root string) (found settings, except string) {
	for _, name := range proxyVariables() {
		if v := getenv(name); v != "" {
			found.proxies = append(found.proxies, setProxy{name, v})
		}
	}
	for _, name := range fileVariables() {
		if v := getenv(name); v != "" {
			found.files = append(found.files, automatic{name, v})
		}
	}
	except = getenv("no_proxy")
	if except == "" {
		except = getenv("NO_PROXY")
	}
	if b, err := os.ReadFile(filepath.Join(root, "/etc/environment")); err == nil {
		vars := map[string]string{}
		for line := range strings.Lines(string(b)) {
			k, v, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
			if ok {
				vars[k] = strings.Trim(v, `"'`)
			}
		}
		for _, name := range proxyVariables() {
			if v := vars[name]; v != "" {
				found.proxies = append(found.proxies, setProxy{"/etc/environment", v})
			}
		}
		for _, name := range fileVariables() {
			if v := vars[name]; v != "" {
				found.files = append(found.files, automatic{"/etc/environment", v})
			}
		}
		for _, name := range []string{"no_proxy", "NO_PROXY"} {
			if except == "" {
				except = vars[name]
			}
		}
	}
	apt := regexp.MustCompile(`(?mi)^\s*Acquire::https?::Proxy\s+"([^"]+)"`)
	files, _ := filepath.Glob(filepath.Join(root, "/etc/apt/apt.conf.d/*"))
	for _, name := range append(files, filepath.Join(root, "/etc/apt/apt.conf")) {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if m := apt.FindSubmatch(b); m != nil && !strings.EqualFold(string(m[1]), "DIRECT") {
			found.proxies = append(found.proxies, setProxy{strings.TrimPrefix(name, strings.TrimSuffix(root, "/")), string(m[1])})
		}
	}
	return found, except
}

// canonicalProxy returns the URL as a policy has it, without credentials, and
// whether there were some. The error quotes nothing of the value.
func canonicalProxy(v string) (canonical string, login bool, err error) {
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" {
		return "", false, errors.New("its value is not the URL of a proxy")
	}
	port := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	if port == "" {
		return "", false, errors.New("its value is not that of an HTTP, HTTPS or SOCKS5 proxy")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	p, err := policy.New(nil, policy.Inline{Flag: "--upstream", Value: u.Scheme + "://" + host + ":" + port})
	if err != nil {
		return "", false, errors.New("its value is not the URL of a proxy that a policy can name")
	}
	return p.Upstreams()[0].URLs[0], u.User != nil, nil
}

// exceptions are the entries of no_proxy that a policy can have. What is on this
// machine is none: a pen reaches it by its own name only.
func exceptions(list string) (out []string) {
	const most = 40
	for _, e := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		host, _, _ := strings.Cut(e, ":")
		for _, form := range []string{strings.TrimPrefix(host, "."), "*." + strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")} {
			if strings.Contains(e, "/") || strings.Count(e, ":") > 1 {
				form = strings.Trim(e, "[]")
			}
			if form == "localhost" || strings.HasSuffix(form, ".localhost") || strings.HasPrefix(form, "127.") || form == "::1" || slices.Contains(out, strconv.Quote(form)) {
				continue
			}
			text := "version: 1\negress: {upstreams: {p: {url: \"http://p.example:1\", except: [" + strconv.Quote(form) + "]}}}\n"
			if _, err := policy.Parse("no_proxy", policy.User, []byte(text)); err == nil && len(out) < most {
				out = append(out, strconv.Quote(form))
			}
		}
	}
	return out
}

// proposal is the line of a policy that means what was found.
func proposal(canonical string, login bool, except []string) string {
	entry := "url: " + strconv.Quote(canonical)
	if login {
		entry += `, from: "env:PROXY_LOGIN"`
	}
	if len(except) > 0 {
		entry += ", except: [" + strings.Join(except, ", ") + "]"
	}
	return "egress: {via: proxy, upstreams: {proxy: {" + entry + "}}}"
}

// proxies tells of proxies that this machine's settings name. A pen uses none of
// them but those of its policy.
func (x *examination) proxies(p *policy.Policy, root, file string) {
	found, list := discover(x.Host.Getenv, root)
	of := x.desktop(root)
	found.proxies, found.files = append(found.proxies, of.proxies...), append(found.files, of.files...)
	if len(found.proxies)+len(found.files)+len(p.Upstreams()) == 0 {
		x.ok("files", "proxies", "neither the environment nor the system nor a desktop names one")
		return
	}
	seen := map[string]bool{}
	for _, f := range found.proxies {
		name := "proxy in " + f.where
		canonical, login, err := canonicalProxy(f.value)
		switch {
		case err != nil:
			x.bad(Warn, "files", name, err, "pens don't use it; name the proxy under egress.upstreams of a policy, if they are to")
		case seen[canonical]:
		case slices.ContainsFunc(p.Upstreams(), func(u policy.Upstream) bool { return slices.Contains(u.URLs, canonical) }):
			x.ok("files", name, "%s, which the policy names, too", canonical)
		default:
			fix := "if pens are to use it, in " + file + ": " + proposal(canonical, login, exceptions(list))
			if login {
				fix += ", with the user:password of that URL in PROXY_LOGIN, or, with from: \"keyring:service=proxy\", in your keyring (secret-tool store --label=Proxy service proxy)"
			}
			// Not cut to one line's length: all of it is to be copied.
			x.add(Finding{Group: "files", Name: name, State: Warn, Detail: canonical + ", which pens don't use: no policy names it", Fix: fix})
		}
		seen[canonical] = true
	}
	named := map[string]bool{}
	for _, a := range found.files {
		if !named[a.url] {
			x.pacFile(p, a, file)
		}
		named[a.url] = true
	}
	for i := range p.Upstreams() {
		x.upstream(p, &p.Upstreams()[i])
	}
}

// upstream connects to the proxies of one entry, and to nothing by them.
func (x *examination) upstream(p *policy.Policy, u *policy.Upstream) {
	name := "upstream " + u.Name
	guard := &dialguard.Guard{Hosts: p.Host}
	if u.IsPAC() {
		var err error
		if u.PACSource() != nil {
			_, _, err = upstream.PACFile(x.ctx, upstream.Config{Proxy: u, Dial: guard.Dial, Roots: func() (*x509.CertPool, error) { return proxyRoots(p) }})
		} else {
			var b []byte
			if b, err = os.ReadFile(u.PAC); err == nil {
				_, err = pac.Parse(b)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", u.PAC, err)
			}
		}
		if err != nil {
			x.bad(Fail, "files", name, err, "see docs/proxies.md")
			return
		}
		x.ok("files", name, "%s is understood, and chooses among %s", u.PAC, strings.Join(u.Among, ", "))
		return
	}
	logins, err := secrets.ResolveLogins([]policy.Upstream{*u}, supervisor.Values(x.ctx, x.Host))
	if err != nil {
		x.bad(Fail, "files", name, err, "see docs/proxies.md")
		return
	}
	certs, err := secrets.ResolveClientCerts([]policy.Upstream{*u}, nil, func(path string, _ bool) ([]byte, error) { return os.ReadFile(path) })
	if err != nil {
		x.bad(Fail, "files", name, err, "see docs/proxies.md")
		return
	}
	n := upstream.New(upstream.Config{Proxy: u, Login: logins.Of(u.Name),
		Certificate: func() (*tls.Certificate, error) { return certs.Of(secrets.CertOfUpstream(u.Name)) }, Dial: guard.Dial, Roots: func() (*x509.CertPool, error) { return proxyRoots(p) }})
	ctx, cancel := context.WithTimeout(x.ctx, 10*time.Second)
	defer cancel()
	if _, err := n.Authorization(ctx); err != nil { // with Kerberos, of a KDC
		x.bad(Warn, "files", name, err, "see docs/proxies.md")
		return
	}
	c, err := n.Dial(ctx)
	if err != nil {
		x.bad(Warn, "files", name, err, "see docs/proxies.md")
		return
	}
	c.Close()
	x.ok("files", name, "%s can be reached at %s", u.Name, c.RemoteAddr())
}

func proxyRoots(p *policy.Policy) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's root certificates: %w", err)
	}
	for _, name := range p.CAFiles() {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read root certificates: %w", err)
		}
		pool.AppendCertsFromPEM(b)
	}
	return pool, nil
}
