package policy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Service is the grpc: of a hook: a service that is asked in Penstock's own protocol, or as
// Envoy asks an authorization service (ext_authz).
type Service struct {
	URL       string         // canonical: https://HOST:PORT, of loopback http:// too
	Own       bool           // the protocol is Penstock's
	Addresses []netip.Prefix // what its name may resolve to beside public addresses
	Client    ClientCert

	target hooks.Target
}

// serviceOf reads a URL.
func serviceOf(raw string) (s *Service, msg, hint string) {
	const hintURL = "for example https://authz.corp.example:9191, or http://127.0.0.1:9191"
	r, err := ParseRequest(raw, "POST")
	scheme, _, _ := strings.Cut(strings.ToLower(raw), "://")
	switch {
	case err != nil:
		return nil, "URL " + quote(raw) + " can't be asked: " + cause(err), hintURL
	case scheme != "https" && scheme != "http":
		return nil, "URL " + quote(raw) + " is not one of https or http", hintURL
	case r.Path != "/" || r.Query != "" || strings.ContainsAny(raw, "?#"):
		return nil, "URL " + quote(raw) + " has a path: what is called is in the protocol", hintURL
	case scheme == "http" && r.Target.Host != HostInternal && !r.Target.Addr.IsLoopback():
		return nil, "URL " + quote(raw) + " is in clear, and not of the host's loopback", "write https://"
	case scheme == "https" && r.Target.Host == HostInternal:
		return nil, "URL " + quote(raw) + " has a name that no certificate is for", "write http://, or 127.0.0.1"
	}
	return &Service{URL: scheme + "://" + r.Target.String(), target: r.Target}, "", ""
}

// Words for the protocol of a service.
const (
	protocolEnvoy    = "envoy"
	protocolPenstock = "penstock"
)

// readService reads grpc:, protocol:, addresses: and the certificate of a hook.
func readService(p *parser, h *hookNode) Runner {
	n := h.values["grpc"]
	raw, ok := p.text(n, "grpc")
	if !ok {
		return nil
	}
	if p.lay == System {
		// What the caller says of names and roots would decide who answers.
		p.fail(n, "write it into the user's file", "a hook of the system's policy can't be a service yet")
		return nil
	}
	s, msg, hint := serviceOf(raw)
	if msg != "" {
		p.fail(n, hint, "%s", msg)
		return nil
	}
	if n := h.values["protocol"]; n != nil {
		word, ok := p.text(n, "protocol")
		if s.Own = word == protocolPenstock; ok && !s.Own && word != protocolEnvoy {
			p.fail(n, "write envoy for a service of ext_authz, or penstock for one of hook.proto", "protocol can't be %s", quote(word))
			return nil
		}
	}
	if n := h.values["addresses"]; n != nil {
		p.texts(n, "addresses", func(c *yaml.Node, text string) {
			if a := p.cidr(c, text); a.IsValid() {
				s.Addresses = append(s.Addresses, a)
			}
		})
		if len(s.Addresses) == 0 {
			p.fail(n, "leave it out, or fill it", "addresses is empty")
		}
	}
	s.Client = p.clientCert(h)
	if msg, hint := s.check(); msg != "" {
		p.fail(h.Node, hint, "the hook %s", msg)
		return nil
	}
	return s
}

// clientCert reads the certificate of a hook.
func (p *parser) clientCert(h *hookNode) (c ClientCert) {
	if n := h.values["client_cert"]; n != nil {
		c.Cert = p.certPath(n, "client_cert")
	}
	if n := h.values["client_key"]; n != nil {
		c.Key = p.certPath(n, "client_key")
	}
	return c
}

// check says what does not go together.
func (s *Service) check() (msg, hint string) {
	switch {
	case s.Client != (ClientCert{}) && strings.HasPrefix(s.URL, "http:"):
		return "has a certificate for a URL in clear", "leave it out"
	case len(s.Addresses) > 0 && (s.target.Host == "" || s.target.Host == HostInternal):
		return "has addresses for a URL that names one", "leave it out: an address that is written is meant"
	}
	return s.Client.check()
}

// Dial is what its name may resolve to beside public addresses, nil for nothing.
func (s *Service) Dial() *Dial {
	list := slices.Clone(s.Addresses)
	switch {
	case s.target.Host == "":
		list = append(list, netip.PrefixFrom(s.target.Addr, s.target.Addr.BitLen()))
	case s.target.Host == HostInternal:
		list = append(list, netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"))
	}
	if len(list) == 0 {
		return nil
	}
	return &Dial{Addresses: normalPrefixes(list)}
}

func (*Service) kind() string     { return "grpc" }
func (*Service) variable() string { return "" }
func (*Service) loosens() string  { return "" }

func (s *Service) text() string {
	t := "grpc: " + quoteYAML(s.URL)
	if s.Own {
		t += ", protocol: " + protocolPenstock
	}
	if len(s.Addresses) > 0 {
		list := make([]string, len(s.Addresses))
		for i, a := range s.Addresses {
			list[i] = quoteYAML(a.String())
		}
		t += ", addresses: [" + strings.Join(list, ", ") + "]"
	}
	return t + s.Client.text()
}

func (s *Service) located(path func(string) (string, bool)) (Runner, string, bool) {
	own := *s
	given, ok := own.Client.locate(path)
	return &own, given, ok
}

func (s *Service) outside(l *Limits) (what string, limit *Source) {
	if l.reaches(&s.target) {
		return "", nil
	}
	return "URL", &l.Egress.From
}

// points says which a service can be asked about: Envoy's protocol has requests only.
func (s *Service) points() []string {
	if s.Own {
		return hooks.PointNames()
	}
	return []string{hooks.PointRequest.String()}
}

// misplaced returns a point that a runner can't be asked at, "" for none.
func misplaced(r Runner, on []string) string {
	s, ok := r.(interface{ points() []string })
	if !ok {
		return ""
	}
	for _, p := range on {
		if !slices.Contains(s.points(), p) {
			return p
		}
	}
	return ""
}

// wireService is a service as it travels.
type wireService struct {
	URL       string         `json:"url"`
	Own       bool           `json:"own,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Client    ClientCert     `json:"client,omitzero"`
}

func (s *Service) wire() any { return &wireService{s.URL, s.Own, s.Addresses, s.Client} }

// believeService checks what travelled.
func believeService(raw []byte, _ Source) (Runner, error) {
	var w wireService
	if err := strictJSON(raw, &w); err != nil {
		return nil, err
	}
	s, msg, _ := serviceOf(w.URL)
	if msg != "" {
		return nil, errors.New("read hook: " + msg)
	}
	s.Own, s.Addresses, s.Client = w.Own, w.Addresses, w.Client
	for _, a := range w.Addresses {
		if c, e := parseCIDR(a.String()); e != nil || c != a {
			return nil, errors.New("read hook: its addresses are no ranges")
		}
	}
	if msg, _ := s.check(); msg != "" || !s.Client.plain() {
		return nil, errors.New("read hook: its certificate is at no path, or is for nothing")
	}
	return s, nil
}
