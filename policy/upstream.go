package policy

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Direct is the word for no upstream in via.
const Direct = "direct"

// Upstream is a proxy of the network, by which hosts are reached. What is asked
// of it, it resolves: the dial guard judges the proxy's own address only.
type Upstream struct {
	Name string `json:"name"`
	// URLs are SCHEME://HOST:PORT in the order in which they are tried; all have
	// the same scheme.
	URLs []string `json:"urls"`
	// Origin, if any, says where its credentials are: the password when User
	// is set, else "user:password". The value itself is never in a policy.
	User string `json:"user,omitempty"`
	Origin
	// Auth is "" for a password (Basic, or SOCKS5's), NTLM for one that is not sent,
	// or Negotiate; then Env or File says where a Kerberos credential cache is, and
	// KDC which hosts have tickets, HOST:PORT.
	Auth string   `json:"auth,omitempty"`
	KDC  []string `json:"kdc,omitempty"`
	// Client is what a proxy of https is shown.
	Client ClientCert `json:"client,omitzero"`
	// Addresses are what names of proxies may resolve to beside public ones.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Except is what is dialled directly although a rule goes this way. It allows
	// nothing.
	Except []LimitPattern `json:"except,omitempty"`
	// PAC is a proxy auto-configuration file, an absolute path or a URL of https, that
	// chooses Among other upstreams and Direct; MyAddress is what it takes for this
	// machine's. Refresh is how often a URL is asked again, 0 for the usual.
	PAC       string        `json:"pac,omitempty"`
	Among     []string      `json:"among,omitempty"`
	MyAddress netip.Addr    `json:"my_address,omitzero"`
	Refresh   time.Duration `json:"refresh,omitempty"`
	From      Source        `json:"from"`

	scheme  string
	proxies []Proxy
	kdcs    []Proxy
	source  *Proxy // of PAC
}

// Words of auth: Kerberos, and NTLM of version 2.
const (
	Negotiate = "negotiate"
	NTLM      = "ntlm"
)

// Proxy is one address of an upstream.
type Proxy struct {
	Target hooks.Target
	Dial   *Dial // what the proxy itself may be dialled at; nil: public addresses
}

// Scheme returns http, https or socks5.
func (u *Upstream) Scheme() string { return u.scheme }

// Proxies returns the addresses in the order in which they are tried. The caller
// must not change them.
func (u *Upstream) Proxies() []Proxy { return u.proxies }

// KDCs returns where tickets for the proxy are.
func (u *Upstream) KDCs() []Proxy { return u.kdcs }

// contacts are all that is dialled for it.
func (u *Upstream) contacts() []Proxy {
	out := slices.Concat(u.proxies, u.kdcs)
	if u.source != nil {
		out = append(out, *u.source)
	}
	return out
}

// LogsIn says whether the proxy gets credentials.
func (u *Upstream) LogsIn() bool { return u.Origin.set() }

func (u *Upstream) excepts(t *hooks.Target) bool {
	return slices.ContainsFunc(u.Except, func(p LimitPattern) bool {
		if p.cidr.IsValid() {
			return t.Host == "" && p.cidr.Contains(t.Addr)
		}
		return t.Host != "" && p.host.matches(t.Host)
	})
}

// same says whether two entries mean the same, wherever they stand.
func (u *Upstream) same(v *Upstream) bool { return u.text() == v.text() }

func (u *Upstream) text() string {
	urls, t := make([]string, len(u.URLs)), ""
	for i, s := range u.URLs {
		urls[i] = quoteYAML(s)
	}
	switch len(urls) {
	case 0:
		t = u.pacText()
	case 1:
		t = "{url: " + urls[0]
	default:
		t = "{urls: [" + strings.Join(urls, ", ") + "]"
	}
	if u.User != "" {
		t += ", user: " + quoteYAML(u.User)
	}
	if u.LogsIn() {
		t += ", from: " + u.Origin.text()
	}
	if u.Auth != "" {
		t += ", auth: " + u.Auth
	}
	t += u.Client.text()
	list := func(key string, n int, each func(int) string) {
		out := make([]string, n)
		for i := range out {
			out[i] = quoteYAML(each(i))
		}
		if n > 0 {
			t += ", " + key + ": [" + strings.Join(out, ", ") + "]"
		}
	}
	list("kdc", len(u.KDC), func(i int) string { return u.KDC[i] })
	list("addresses", len(u.Addresses), func(i int) string { return u.Addresses[i].String() })
	list("except", len(u.Except), func(i int) string { return u.Except[i].String() })
	return t + "}"
}

// maxProxies bounds the proxies of one upstream.
const maxProxies = 16

// validUpstream is what names of upstreams look like: they stand in the audit
// and in answers.
func validUpstream(s string) bool {
	if s == "" || len(s) > 32 || s == Direct || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// finish checks an upstream and completes it.
func (u *Upstream) finish() error {
	switch {
	case !validUpstream(u.Name):
		return errors.New("the name of an upstream is not lower-case letters, digits, - and _, or is " + Direct)
	case u.IsPAC():
		u.proxies, u.kdcs, u.scheme = nil, nil, ""
		if msg, _ := u.checkPAC(); msg != "" {
			return errors.New("the upstream " + msg)
		}
		if !u.finishPAC() {
			return errors.New("this is no URL of a PAC file")
		}
		return nil
	case len(u.URLs) == 0 || len(u.URLs) > maxProxies:
		return errors.New("an upstream has from 1 to " + strconv.Itoa(maxProxies) + " URLs")
	case u.User != "" && !u.LogsIn() || u.LogsIn() && !u.Origin.validOnce(u.From.Layer):
		return errors.New("the credentials of an upstream have no source")
	case !validLogin(u.User):
		return errors.New("the user of an upstream has a colon or a control character")
	}
	if msg, _ := u.check(); msg != "" {
		return errors.New("the upstream " + msg)
	}
	u.proxies, u.kdcs, u.source = nil, nil, nil
	for _, s := range u.KDC {
		t, ok := parseKDC(s)
		if !ok || t.String() != s {
			return errors.New("this is no HOST:PORT of a KDC")
		}
		u.kdcs = append(u.kdcs, Proxy{Target: t, Dial: u.dial(t)})
	}
	for i, s := range u.URLs {
		scheme, t, canonical, msg, _ := parseProxy(s)
		switch {
		case msg != "" || canonical != s:
			return errors.New("this is no URL of a proxy")
		case i > 0 && scheme != u.scheme:
			return errors.New("the URLs of one upstream have different schemes")
		}
		u.scheme = scheme
		u.proxies = append(u.proxies, Proxy{Target: t, Dial: u.dial(t)})
	}
	return nil
}

// check says why a login or a certificate can't be.
func (u *Upstream) check() (msg, hint string) {
	if msg, hint = u.checkPAC(); msg != "" || u.IsPAC() {
		return msg, hint
	}
	if msg, hint = u.checkAuth(); msg == "" {
		msg, hint = u.Client.check()
	}
	if scheme, _, _, _, _ := parseProxy(u.URLs[0]); msg == "" && u.Client.Key != "" && scheme != "https" {
		return "has a client_cert, which is for https", "write https:// in its URL if the proxy speaks TLS"
	}
	return msg, hint
}

// checkAuth says why a login by Kerberos or NTLM can't be.
func (u *Upstream) checkAuth() (msg, hint string) {
	if u.Auth != Negotiate {
		switch scheme, _, _, _, _ := parseProxy(u.URLs[0]); {
		case u.Auth != "" && u.Auth != NTLM:
			return "logs in in a way that is not known", ""
		case u.Auth == NTLM && !u.LogsIn():
			return "has auth and no credentials", "add from: env:NAME or file:PATH"
		case u.Auth == NTLM && scheme == "socks5":
			return "logs in by NTLM, which is for http and https", ""
		case len(u.KDC) > 0:
			return "has a kdc and does not log in by Kerberos", "add auth: negotiate"
		}
		return "", ""
	}
	switch {
	case !u.LogsIn():
		return "has no credential cache", `add from: "env:KRB5CCNAME", or file:PATH of what kinit has made`
	case u.Env == "" && u.File == "":
		return "has a credential cache that is in no file", `write from: "env:KRB5CCNAME", or file:PATH of what kinit has made`
	case u.User != "":
		return "has a user and logs in by Kerberos", "leave user out: the cache says who"
	case len(u.KDC) == 0 || len(u.KDC) > maxProxies:
		return "has no kdc", "add kdc: [HOST] of the realm's servers"
	case len(u.URLs) != 1:
		return "logs in by Kerberos and has several URLs", "a ticket is for one name: give it the one under which the proxies are known"
	}
	scheme, t, _, _, _ := parseProxy(u.URLs[0])
	switch {
	case scheme == "socks5":
		return "logs in by Kerberos, which is for http and https", ""
	case t.Host == "" || t.Host == HostInternal:
		return "logs in by Kerberos and has an address", "a ticket is for a name: write it in the URL"
	}
	return "", ""
}

// parseKDC reads HOST[:PORT].
func parseKDC(s string) (hooks.Target, bool) {
	if strings.ContainsAny(s, "/@") {
		return hooks.Target{}, false
	}
	if _, t, _, msg, _ := parseProxy("http://" + s); msg == "" {
		return t, true
	}
	_, t, _, msg, _ := parseProxy("http://" + s + ":88")
	return t, msg == ""
}

// validLogin is RFC 7617 section 2: the first colon ends the user's name. Empty is
// no user.
func validLogin(s string) bool {
	return len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r == ':' || r < 0x20 || r == 0x7f })
}

// dial is the permission for the proxy's own address and for nothing else.
func (u *Upstream) dial(t hooks.Target) *Dial {
	list := slices.Clone(u.Addresses)
	switch {
	case t.Host == "":
		list = append(list, netip.PrefixFrom(t.Addr, t.Addr.BitLen()))
	case t.Host == HostInternal:
		list = append(list, netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"))
	}
	if len(list) == 0 {
		return nil
	}
	return &Dial{Addresses: normalPrefixes(list)}
}

// parseProxy reads SCHEME://HOST:PORT. The message quotes nothing that could be
// a credential.
func parseProxy(s string) (scheme string, t hooks.Target, canonical, msg, hint string) {
	const example = `for example "http://proxy.corp.example:3128"`
	fail := func(m, h string) (string, hooks.Target, string, string, string) {
		return "", hooks.Target{}, "", m, h
	}
	if len(s) > 512 || !isPrintableASCII(s) {
		return fail("is not the URL of a proxy", example)
	}
	if strings.Contains(s, "@") {
		return fail("holds credentials", "write them to a variable or a file, and name that: from: env:NAME or file:PATH")
	}
	v, err := url.Parse(s)
	if err != nil || v.Host == "" || v.Opaque != "" || v.Path != "" && v.Path != "/" || v.RawQuery != "" || v.Fragment != "" || v.ForceQuery {
		return fail("is not the URL of a proxy", example)
	}
	switch scheme = v.Scheme; scheme {
	case "http", "https", "socks5":
	case "socks5h":
		scheme = "socks5" // names are always the proxy's to resolve
	default:
		return fail("has a scheme that is none of http, https and socks5", example)
	}
	port, err := parsePort(v.Port())
	if err != nil {
		return fail("has no port from 1 to 65535", example)
	}
	t.Port = port
	if a, err := netip.ParseAddr(strings.Trim(v.Host[:len(v.Host)-len(v.Port())-1], "[]")); err == nil {
		if a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return fail("has an address that no proxy has", "")
		}
		t.Addr = a
	} else if t.Host, err = CanonicalHost(v.Hostname()); err != nil {
		return fail("has a host that is not a name: "+cause(err), example)
	} else if t.Host == "localhost" {
		return fail("has the name localhost, which is not looked up", "write the address: "+scheme+"://127.0.0.1:"+utoa(port))
	}
	return scheme, t, scheme + "://" + t.String(), "", ""
}

func (p *Policy) upstream(name string) *Upstream {
	for i := range p.d.Upstreams {
		if p.d.Upstreams[i].Name == name {
			return &p.d.Upstreams[i]
		}
	}
	return nil
}
