package netproxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// binding is the one target of a connection, and what else of the connection
// each of its requests is compared with. It does not change after the front
// has handed the connection on.
type binding struct {
	target hooks.Target
	// open says that the connection is to the proxy port and has no target of
	// its own: each request names one.
	open bool
	tls  bool
	conn uint64 // number of the connection
	// host and hostPort are the target's spellings in a Host field; host is ""
	// when the port can't be left out.
	host, hostPort string
	// mismatch explains why nothing on this connection is answered but by 421.
	mismatch string
	sni      string // of a mismatch
	original netip.AddrPort
	client   netip.AddrPort
	opener   *opener
}

// bindTarget fills in what Host fields may say.
func (b *binding) bindTarget(t hooks.Target) {
	b.target = t
	b.hostPort = t.String()
	b.host = ""
}

// setTLS is called once the protocol is known.
func (b *binding) setTLS(on bool) {
	b.tls = on
	if b.target.Port == b.defaultPort() {
		b.host = strings.TrimSuffix(b.hostPort, ":"+utoa(b.target.Port))
	}
}

func (b *binding) defaultPort() uint16 {
	if b.tls {
		return 443
	}
	return 80
}

func (b *binding) scheme() string {
	if b.tls {
		return "https"
	}
	return "http"
}

func (b *binding) protocol() hooks.Protocol {
	if b.tls {
		return hooks.ProtocolHTTPS
	}
	return hooks.ProtocolHTTP
}

func utoa(p uint16) string { return strconv.Itoa(int(p)) }

// refusal is a request that is answered without being judged.
type refusal struct {
	status int
	kind   string // of the violation, "" if it is none
	reason string
}

func mismatch(reason string) *refusal {
	return &refusal{http.StatusMisdirectedRequest, "target-mismatch", reason}
}

func malformed(reason string) *refusal {
	return &refusal{http.StatusBadRequest, "malformed", reason}
}

// bindRequest finds the one target of a request and compares with it everything
// that the request says. Nothing else may look at a request before.
func (p *Proxy) bindRequest(b *binding, r *http.Request) (hooks.Target, *refusal) {
	if b.mismatch != "" {
		return b.target, mismatch(b.mismatch)
	}
	if r.URL.User != nil {
		return b.target, malformed("the URL holds a user name")
	}
	if r.URL.Scheme != "" && !strings.EqualFold(r.URL.Scheme, b.scheme()) {
		return b.target, mismatch("the URL's scheme is not that of the connection (use CONNECT for https)")
	}
	if b.open {
		if r.URL.Host == "" {
			return b.target, &refusal{http.StatusBadRequest, "",
				"this is Penstock's proxy port; requests name their URL or CONNECT"}
		}
		t, err := p.parseAuthority(r.URL.Host, 80)
		if err != nil {
			return b.target, malformed("the URL's host: " + cause(err))
		}
		return t, p.sameHosts(r, t, 80)
	}
	if r.Host == "" { // HTTP/1.0 without Host says nothing that could differ
		if r.ProtoAtLeast(1, 1) {
			return b.target, malformed("no Host")
		}
		return b.target, nil
	}
	if r.Host != b.hostPort && (b.host == "" || r.Host != b.host) {
		if why := p.differs(r.Host, b.target, b.defaultPort()); why != nil {
			return b.target, why
		}
	}
	// HTTP/1's absolute URL has become Host; HTTP/2's, in :path, has not.
	if r.URL.Host != "" && r.URL.Host != r.Host {
		if why := p.differs(r.URL.Host, b.target, b.defaultPort()); why != nil {
			return b.target, why
		}
	}
	return b.target, p.sameHosts(r, b.target, b.defaultPort())
}

// sameHosts checks Host fields that stand beside an :authority. For HTTP/1
// net/http has removed the field; the filter compared it with an absolute URL.
func (p *Proxy) sameHosts(r *http.Request, t hooks.Target, port uint16) *refusal {
	hosts, ok := r.Header["Host"]
	if !ok {
		return nil
	}
	for _, h := range hosts {
		if why := p.differs(h, t, port); why != nil {
			return why
		}
	}
	delete(r.Header, "Host")
	return nil
}

func (p *Proxy) differs(authority string, t hooks.Target, port uint16) *refusal {
	said, err := p.parseAuthority(authority, port)
	if err != nil {
		return malformed("the request's host: " + cause(err))
	}
	if said != t {
		return mismatch("the request is for " + said.String() + ", the connection is to " + t.String())
	}
	return nil
}

// parseAuthority reads HOST[:PORT] canonically. A synthetic address is the name
// it stands for.
func (p *Proxy) parseAuthority(s string, port uint16) (hooks.Target, error) {
	if strings.ContainsAny(s, "/?#@\\") {
		return hooks.Target{}, policy.ErrTarget
	}
	scheme := "http://"
	if port == 443 {
		scheme = "https://"
	}
	t, err := policy.ParseTarget(scheme + s)
	if err != nil {
		return t, err
	}
	return p.named(t), nil
}

// named replaces a synthetic address by its name.
func (p *Proxy) named(t hooks.Target) hooks.Target {
	if t.Host == "" && p.cfg.Names != nil {
		if name, ok := p.cfg.Names.Lookup(t.Addr); ok {
			return hooks.Target{Host: name, Port: t.Port}
		}
	}
	return t
}

// cause is the last part of an error's text, without the bytes that it quotes.
func cause(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	return s
}

// setPath makes what is forwarded what is judged.
func setPath(r *http.Request) (string, *refusal) {
	sent := r.URL.Opaque // set below, when this is the second time
	if sent == "" {
		sent = r.URL.EscapedPath()
	}
	path, err := policy.CanonicalPath(sent)
	if err != nil {
		return "", malformed("the path: " + cause(err))
	}
	if path == "*" {
		return path, &refusal{http.StatusBadRequest, "malformed", "a request about the whole server (*) has no path to judge"}
	}
	if path != sent || r.URL.Path == "" {
		r.URL.RawPath, r.URL.Opaque = path, ""
		if r.URL.Path, err = url.PathUnescape(path); err != nil {
			return path, malformed("the path has a bad escape")
		}
		if r.URL.EscapedPath() != path {
			if strings.HasPrefix(path, "//") {
				return path, malformed("the path can't be forwarded as it is judged")
			}
			r.URL.Opaque = path
		}
	}
	return path, nil
}
