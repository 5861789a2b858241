package policy

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

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
	// Env or File, if any, says where its credentials are: the password when User
	// is set, else "user:password". The value itself is never in a policy.
	User string `json:"user,omitempty"`
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"` // absolute
	// Addresses are what names of proxies may resolve to beside public ones.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Except is what is dialled directly although a rule goes this way. It allows
	// nothing.
	Except []LimitPattern `json:"except,omitempty"`
	From   Source         `json:"from"`

	scheme  string
	proxies []Proxy
}

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

// LogsIn says whether the proxy gets credentials.
func (u *Upstream) LogsIn() bool { return u.Env != "" || u.File != "" }

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
	urls := make([]string, len(u.URLs))
	for i, s := range u.URLs {
		urls[i] = quoteYAML(s)
	}
	t := "{url: " + urls[0]
	if len(urls) > 1 {
		t = "{urls: [" + strings.Join(urls, ", ") + "]"
	}
	if u.User != "" {
		t += ", user: " + quoteYAML(u.User)
	}
	switch {
	case u.Env != "":
		t += ", from: " + quoteYAML("env:"+u.Env)
	case u.File != "":
		t += ", from: " + quoteYAML("file:"+u.File)
	}
	list := func(key string, n int, each func(int) string) {
		out := make([]string, n)
		for i := range out {
			out[i] = quoteYAML(each(i))
		}
		if n > 0 {
			t += ", " + key + ": [" + strings.Join(out, ", ") + "]"
		}
	}
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
	case len(u.URLs) == 0 || len(u.URLs) > maxProxies:
		return errors.New("an upstream has from 1 to " + strconv.Itoa(maxProxies) + " URLs")
	case u.Env != "" && u.File != "" || u.Env != "" && !validEnv(u.Env) || u.User != "" && !u.LogsIn():
		return errors.New("the credentials of an upstream have no source")
	case !validLogin(u.User):
		return errors.New("the user of an upstream has a colon or a control character")
	}
	u.proxies = nil
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

// way is where a pattern's targets go, by the word of a layer.
type way struct {
	up    *Upstream // nil: direct
	layer Layer
	set   bool
}

// routes finds the way to a target, as index finds its rules.
type routes struct {
	names  map[string]*wayNode
	any    way
	v4, v6 []prefixWays
	other  *Upstream // of what no rule sends anywhere
	some   bool
}

type wayNode struct{ exact, below way }

type prefixWays struct {
	bits int
	ways map[netip.Prefix]way
}

// take keeps the word of the higher layer: rules come in that order.
func (w *way) take(v way) {
	if !w.set {
		*w = v
	}
}

func (x *routes) add(r *Rule, up *Upstream) {
	v := way{up, r.Layer, true}
	x.some = true
	switch {
	case r.cidr.IsValid():
		list := &x.v4
		if r.cidr.Addr().Is6() {
			list = &x.v6
		}
		i := slices.IndexFunc(*list, func(m prefixWays) bool { return m.bits == r.cidr.Bits() })
		if i < 0 {
			i = len(*list)
			*list = append(*list, prefixWays{r.cidr.Bits(), map[netip.Prefix]way{}})
		}
		if _, ok := (*list)[i].ways[r.cidr]; !ok {
			(*list)[i].ways[r.cidr] = v
		}
	case r.host.wild && r.host.name == "":
		x.any.take(v)
	default:
		if x.names == nil {
			x.names = map[string]*wayNode{}
		}
		n := x.names[r.host.name]
		if n == nil {
			n = &wayNode{}
			x.names[r.host.name] = n
		}
		if r.host.wild {
			n.below.take(v)
		} else {
			n.exact.take(v)
		}
	}
}

// better keeps the word of the higher layer, of one layer the more specific: the
// caller comes from the most specific pattern.
func (w *way) better(v way) {
	if v.set && (!w.set || v.layer < w.layer) {
		*w = v
	}
}

// find returns the way to a target.
func (x *routes) find(t *hooks.Target) *Upstream {
	if !x.some || t.Host == HostInternal {
		return nil
	}
	var w way
	if t.Host == "" {
		list := x.v4
		if t.Addr.Is6() {
			list = x.v6
		}
		most := -1
		for i := range list {
			pfx, err := t.Addr.Prefix(list[i].bits)
			if err != nil {
				continue
			}
			v := list[i].ways[pfx]
			if v.set && (!w.set || v.layer < w.layer || v.layer == w.layer && list[i].bits > most) {
				w, most = v, list[i].bits
			}
		}
	} else {
		if n := x.names[t.Host]; n != nil {
			w.better(n.exact)
		}
		for rest := t.Host; len(x.names) > 0; {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			if n := x.names[rest]; n != nil {
				w.better(n.below)
			}
		}
		w.better(x.any)
	}
	up := x.other
	if w.set {
		up = w.up
	}
	if up != nil && up.excepts(t) {
		return nil
	}
	return up
}

// Route returns the upstream by which a canonical target is reached, nil for
// none: it is dialled directly. It depends on the target's name or address only,
// not on what is asked of it, and says nothing about whether it is allowed.
func (p *Policy) Route(t *hooks.Target) *Upstream { return p.ways.find(t) }

// Upstreams returns the proxies that the policy names.
func (p *Policy) Upstreams() []Upstream { return p.d.Upstreams }

// compileRoutes checks the upstreams and makes the index of ways.
func (p *Policy) compileRoutes() error {
	for i := range p.d.Upstreams {
		u := &p.d.Upstreams[i]
		if err := u.finish(); err != nil {
			return errors.New("compile policy: " + err.Error())
		}
		for j := range u.proxies {
			d := u.proxies[j].Dial
			if a, ok := p.idx.hosts[u.proxies[j].Target.Host]; ok {
				d = &Dial{Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
			}
			u.proxies[j].Dial = p.unions.intern(d)
		}
	}
	lookUp := func(name string) (*Upstream, error) {
		u := p.upstream(name)
		if u == nil && name != Direct {
			return nil, errors.New("compile policy: there is no upstream " + quote(name))
		}
		return u, nil
	}
	if v := p.d.Via; v.Set {
		u, err := lookUp(v.V)
		if err != nil {
			return err
		}
		p.ways.other, p.ways.some = u, true
	}
	for _, r := range p.d.Rules {
		if r.via == "" {
			continue
		}
		u, err := lookUp(r.via)
		if err != nil {
			return err
		}
		p.ways.add(r, u)
	}
	return nil
}
