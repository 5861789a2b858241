package policy

import (
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// OAuth2 says that a secret is an access token, which the proxy gets from a token
// endpoint: with a refresh token if there is one, else as the client itself.
type OAuth2 struct {
	TokenURL     string   `json:"token_url"` // canonical, of https
	ClientID     string   `json:"client_id"`
	ClientSecret *Origin  `json:"client_secret,omitempty"`
	RefreshToken *Origin  `json:"refresh_token,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	Audience     string   `json:"audience,omitempty"`
	// Body says that the client's secret goes in the body instead of in Basic
	// credentials (RFC 6749, 2.3.1).
	Body bool `json:"body,omitempty"`
}

// Vault says that a secret is a field of what a server with the HTTP API of
// HashiCorp Vault or OpenBao has at a path.
type Vault struct {
	URL       string `json:"url"` // canonical, of https, without a path
	Path      string `json:"path"`
	Field     string `json:"field"`
	KV        int    `json:"kv"` // 2; or 1, which is every engine with its fields in data
	Token     Origin `json:"token"`
	Namespace string `json:"namespace,omitempty"`
}

// Names of the parts of a secret that is got from others, see secrets.Secret.Parts.
const (
	PartClientSecret = "client_secret"
	PartRefreshToken = "refresh_token"
	PartToken        = "token"
)

// Parts yields the values that a secret is made with, by their names.
func (s *Secret) Parts() iter.Seq2[string, *Origin] {
	return func(yield func(string, *Origin) bool) {
		parts := map[string]*Origin{}
		if o := s.OAuth2; o != nil {
			parts[PartClientSecret], parts[PartRefreshToken] = o.ClientSecret, o.RefreshToken
		}
		if v := s.Vault; v != nil {
			parts[PartToken] = &v.Token
		}
		if a := s.AWS; a != nil {
			parts[PartSecretKey], parts[PartSessionToken] = &a.SecretKey, a.SessionToken
		}
		for _, name := range []string{PartClientSecret, PartRefreshToken, PartToken, PartSecretKey, PartSessionToken} {
			if parts[name] != nil && !yield(name, parts[name]) {
				return
			}
		}
	}
}

// Fetched says whether the proxy gets the value from somebody else.
func (s *Secret) Fetched() bool { return s.OAuth2 != nil || s.Vault != nil }

// asks returns who the value is got from.
func (s *Secret) asks() (t hooks.Target, ok bool) {
	raw := ""
	switch {
	case s.OAuth2 != nil:
		raw = s.OAuth2.TokenURL
	case s.Vault != nil:
		raw = s.Vault.URL
	default:
		return t, false
	}
	w, msg, _ := webhookOf(raw)
	if msg != "" {
		return t, false
	}
	return w.target, true
}

// secretFrom reads an origin, {oauth2: ...} or {vault: ...}.
func (p *parser) secretFrom(s *Secret, n *yaml.Node) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 {
		switch n.Content[0].Value {
		case "oauth2":
			p.fields(n, "from", []field{{"oauth2", func(n *yaml.Node) { s.OAuth2 = p.oauth2(n) }}})
			return
		case "vault":
			p.fields(n, "from", []field{{"vault", func(n *yaml.Node) { s.Vault = p.vault(n) }}})
			return
		}
	}
	s.Origin = p.origin(n, "from", forSecret)
}

// endpoint reads a URL that the proxy itself asks.
func (p *parser) endpoint(n *yaml.Node, key string) string {
	v, ok := p.text(n, key)
	if !ok {
		return ""
	}
	w, msg, hint := webhookOf(v)
	if msg != "" {
		p.fail(n, strings.Replace(hint, "hooks.corp.example/penstock", "login.corp.example/token", 1), "%s: %s", key, msg)
		return ""
	}
	return w.URL
}

// plain reads text that stands in a request to an endpoint.
func (p *parser) plain(n *yaml.Node, key string) string {
	v, ok := p.text(n, key)
	if ok && !validPlain(v) {
		p.fail(n, "", "%s is not up to 1024 printable ASCII characters", key)
	}
	return v
}

func validPlain(s string) bool { return s != "" && len(s) <= 1024 && isPrintableASCII(s) }

func (p *parser) oauth2(n *yaml.Node) *OAuth2 {
	o := &OAuth2{}
	seen := p.fields(n, "oauth2", []field{
		{"token_url", func(n *yaml.Node) { o.TokenURL = p.endpoint(n, "token_url") }},
		{"client_id", func(n *yaml.Node) { o.ClientID = p.plain(n, "client_id") }},
		{"client_secret", func(n *yaml.Node) { v := p.origin(n, "client_secret", forSecret); o.ClientSecret = &v }},
		{"refresh_token", func(n *yaml.Node) { v := p.origin(n, "refresh_token", forSecret); o.RefreshToken = &v }},
		{"scopes", func(n *yaml.Node) {
			p.texts(n, "scopes", func(c *yaml.Node, v string) {
				if !validPlain(v) || strings.ContainsAny(v, ` "\`) {
					p.fail(c, "one scope in each entry", "%s is not a scope", quote(v))
				}
				o.Scopes = append(o.Scopes, v)
			})
		}},
		{"audience", func(n *yaml.Node) { o.Audience = p.plain(n, "audience") }},
		{"client_auth", func(n *yaml.Node) {
			if v, ok := p.enum(n, "client_auth", []string{"basic", "body"}); ok {
				o.Body = v == "body"
			}
		}},
	})
	switch {
	case seen == nil:
	case seen["token_url"] == nil || seen["client_id"] == nil:
		p.fail(n, "for example {token_url: https://login.example.com/token, client_id: ci, client_secret: env:CI_SECRET}", "oauth2 needs token_url and client_id")
	case o.ClientSecret == nil && o.RefreshToken == nil:
		p.fail(n, "add client_secret: env:NAME, or refresh_token: file:PATH", "oauth2 has neither client_secret nor refresh_token: there is nothing to get a token with")
	case o.Body && o.ClientSecret == nil:
		p.fail(seen["client_auth"], "leave it out", "client_auth needs a client_secret")
	}
	return o
}

func (p *parser) vault(n *yaml.Node) *Vault {
	v := &Vault{KV: 2}
	seen := p.fields(n, "vault", []field{
		{"url", func(n *yaml.Node) {
			if v.URL = p.endpoint(n, "url"); v.URL != "" && !bareURL(v.URL) {
				p.fail(n, "for example https://vault.example.com:8200", "url has a path: what is read goes in path")
			}
		}},
		{"path", func(n *yaml.Node) {
			if v.Path = p.plain(n, "path"); v.Path != "" && !validVaultPath(v.Path) {
				p.fail(n, "as the API has it, without /v1/: secret/data/app for key app of the KV engine at secret/", "path %s can't be read", quote(v.Path))
			}
		}},
		{"field", func(n *yaml.Node) { v.Field = p.plain(n, "field") }},
		{"kv", func(n *yaml.Node) {
			if k, ok := p.count(n, "kv", 2); ok {
				v.KV = int(k)
			}
		}},
		{"token", func(n *yaml.Node) { v.Token = p.origin(n, "token", forSecret) }},
		{"namespace", func(n *yaml.Node) { v.Namespace = p.plain(n, "namespace") }},
	})
	for _, key := range []string{"url", "path", "field", "token"} {
		if seen != nil && seen[key] == nil {
			p.fail(n, "for example {url: https://vault.example.com:8200, path: secret/data/app, field: key, token: file:~/.vault-token}", "vault has no %s", key)
			break
		}
	}
	return v
}

// bareURL says whether a canonical URL has no path and no query.
func bareURL(u string) bool {
	return strings.HasSuffix(u, "/") && strings.Count(u, "/") == 3 && !strings.Contains(u, "?")
}

func validVaultPath(s string) bool {
	return validPlain(s) && !strings.ContainsAny(s, `?#%\ "`) && !slices.ContainsFunc(strings.Split(s, "/"), func(seg string) bool { return seg == "" || seg == "." || seg == ".." })
}

// locate makes the paths of files absolute.
func (s *Secret) locate(path func(*string, Source)) {
	path(&s.File, s.From)
	if s.AWS != nil {
		c := *s.AWS
		path(&c.AccessKey.File, s.From)
		path(&c.SecretKey.File, s.From)
		if c.SessionToken != nil {
			t := *c.SessionToken
			path(&t.File, s.From)
			c.SessionToken = &t
		}
		s.AWS = &c
	}
	part := func(o *Origin) *Origin {
		if o == nil {
			return nil
		}
		c := *o
		path(&c.File, s.From)
		return &c
	}
	if s.OAuth2 != nil {
		c := *s.OAuth2
		c.ClientSecret, c.RefreshToken = part(c.ClientSecret), part(c.RefreshToken)
		s.OAuth2 = &c
	}
	if s.Vault != nil {
		c := *s.Vault
		c.Token = *part(&c.Token)
		s.Vault = &c
	}
}

func (o *OAuth2) text() string {
	t := "{oauth2: {token_url: " + quoteYAML(o.TokenURL) + ", client_id: " + quoteYAML(o.ClientID)
	if o.ClientSecret != nil {
		t += ", client_secret: " + o.ClientSecret.text()
	}
	if o.RefreshToken != nil {
		t += ", refresh_token: " + o.RefreshToken.text()
	}
	if len(o.Scopes) > 0 {
		scopes := make([]string, len(o.Scopes))
		for i, s := range o.Scopes {
			scopes[i] = quoteYAML(s)
		}
		t += ", scopes: [" + strings.Join(scopes, ", ") + "]"
	}
	if o.Audience != "" {
		t += ", audience: " + quoteYAML(o.Audience)
	}
	if o.Body {
		t += ", client_auth: body"
	}
	return t + "}}"
}

func (v *Vault) text() string {
	t := "{vault: {url: " + quoteYAML(v.URL) + ", path: " + quoteYAML(v.Path) + ", field: " + quoteYAML(v.Field)
	if v.KV == 1 {
		t += ", kv: 1"
	}
	t += ", token: " + v.Token.text()
	if v.Namespace != "" {
		t += ", namespace: " + quoteYAML(v.Namespace)
	}
	return t + "}}"
}

// valid says whether it is as the parser makes it for a file of that layer.
func (o *OAuth2) valid(l Layer) bool {
	w, msg, _ := webhookOf(o.TokenURL)
	ok := msg == "" && w.URL == o.TokenURL && validPlain(o.ClientID) && (o.ClientSecret != nil || o.RefreshToken != nil) &&
		(o.Audience == "" || validPlain(o.Audience)) && !(o.Body && o.ClientSecret == nil)
	for _, part := range []*Origin{o.ClientSecret, o.RefreshToken} {
		ok = ok && (part == nil || part.valid(l))
	}
	for _, s := range o.Scopes {
		ok = ok && validPlain(s) && !strings.ContainsAny(s, ` "\`)
	}
	return ok
}

// valid says whether it is as the parser makes it for a file of that layer.
func (v *Vault) valid(l Layer) bool {
	w, msg, _ := webhookOf(v.URL)
	return msg == "" && w.URL == v.URL && bareURL(v.URL) && validVaultPath(v.Path) && validPlain(v.Field) && (v.KV == 1 || v.KV == 2) &&
		v.Token.valid(l) && (v.Namespace == "" || validPlain(v.Namespace))
}
