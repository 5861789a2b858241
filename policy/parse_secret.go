package policy

import (
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (p *parser) secrets(f *File, n *yaml.Node) {
	first := map[string]int{}
	p.list(n, "secrets", func(n *yaml.Node) {
		s := Secret{From: p.at(n)}
		before := len(p.errs.Errors)
		seen := p.fields(n, "a secret", []field{
			{"name", func(n *yaml.Node) {
				var ok bool
				if s.Name, ok = p.text(n, "name"); ok && !validEnv(s.Name) {
					p.fail(n, "letters, digits and _, not beginning with a digit", "%s is not a name of a variable", quote(s.Name))
				}
			}},
			{"from", func(n *yaml.Node) { p.secretFrom(&s, n) }},
			{"hosts", func(n *yaml.Node) { p.secretHosts(&s, n) }},
			{"header", func(n *yaml.Node) {
				if v, ok := p.text(n, "header"); ok {
					if msg, hint := badHeader(v); msg != "" {
						p.fail(n, hint, "header %s %s", quote(v), msg)
					}
					s.Header = http.CanonicalHeaderKey(v)
				}
			}},
			{"bearer", func(n *yaml.Node) {
				if v, ok := p.boolean(n, "bearer"); ok && !v {
					p.fail(n, "leave it out", "bearer: false says nothing")
				}
				s.Header, s.Prefix = "Authorization", "Bearer "
			}},
			{"basic", func(n *yaml.Node) { p.secretBasic(&s, n) }},
			{"query", func(n *yaml.Node) {
				if v, ok := p.text(n, "query"); ok {
					if !validParameter(v) {
						p.fail(n, "write the name as it is without %-encoding", "%s is not the name of a query parameter", quote(v))
					}
					s.Query = v
				}
			}},
			{"json", func(n *yaml.Node) {
				s.JSON = p.jsonPath(n, "json")
			}},
			{"websocket", func(n *yaml.Node) { p.secretWebSocket(&s, n) }},
			{"aws", func(n *yaml.Node) { p.aws(&s, n) }},
			{"prefix", func(n *yaml.Node) {
				if v, ok := p.text(n, "prefix"); ok {
					if len(v) > 64 || !isPrintableASCII(v) {
						p.fail(n, `for example "Bearer "`, "prefix %s is not up to 64 printable ASCII characters", quote(v))
					}
					s.Prefix = v
				}
			}},
		})
		if seen == nil || len(p.errs.Errors) > before {
			return
		}
		for _, key := range []string{"name", "from", "hosts"} {
			if seen[key] == nil && !(key == "from" && seen["aws"] != nil) {
				p.fail(n, "", "the secret has no %s", key)
			}
		}
		var places []string
		for _, key := range []string{"header", "bearer", "basic", "query", "json", "websocket", "aws"} {
			if seen[key] != nil {
				places = append(places, key)
			}
		}
		switch {
		case len(places) == 0:
			p.fail(n, "write header: NAME, bearer: true, basic: {user: NAME}, query: NAME, json: FIELD, websocket: {json: FIELD} or aws: {...}", "the secret has no header, nor another place")
		case len(places) > 1:
			p.fail(n, "a secret has one place: write two with names of their own", "the secret has %s", strings.Join(places, " and "))
		case seen["aws"] != nil && seen["from"] != nil:
			p.fail(seen["from"], "leave it out", "aws says itself where its keys are")
		case seen["prefix"] != nil && seen["header"] == nil:
			p.fail(seen["prefix"], "leave it out", "prefix goes with header only")
		}
		if line, ok := first[s.Name]; ok && s.Name != "" {
			p.fail(n, "give each secret one entry with all its hosts", "secret %s is here twice, first at line %d", s.Name, line)
		}
		if len(p.errs.Errors) > before {
			return
		}
		first[s.Name] = n.Line
		f.secrets = append(f.secrets, s)
	})
}

func (p *parser) secretBasic(s *Secret, n *yaml.Node) {
	s.Header, s.Basic = "Authorization", true
	seen := p.fields(n, "basic", []field{{"user", func(n *yaml.Node) {
		if v, ok := p.text(n, "basic.user"); ok {
			if !validUser(v) {
				p.fail(n, "", "%s is not up to 128 printable ASCII characters without a colon", quote(v))
			}
			s.User = v
		}
	}}})
	if seen != nil && seen["user"] == nil {
		p.fail(n, "for example basic: {user: x-access-token}; the secret is the password", "basic has no user")
	}
}

// secretWebSocket reads which field of a message it is.
func (p *parser) secretWebSocket(s *Secret, n *yaml.Node) {
	seen := p.fields(n, "websocket", []field{{"json", func(n *yaml.Node) { s.WebSocket = p.jsonPath(n, "websocket.json") }}})
	if seen != nil && seen["json"] == nil {
		p.fail(n, "for example websocket: {json: payload.token}, a field of the first text message", "websocket has no json")
	}
}

// jsonPath reads the place of a field.
func (p *parser) jsonPath(n *yaml.Node, key string) string {
	v, ok := p.text(n, key)
	if ok && !validJSONPath(v) {
		p.fail(n, "for example json: client_secret, or json: auth.key for a key in an object", "%s is not the place of a field", quote(v))
	}
	return v
}

// validUser is what RFC 7617 lets stand before the colon, in ASCII.
func validUser(s string) bool {
	return s != "" && len(s) <= 128 && isPrintableASCII(s) && !strings.Contains(s, ":")
}

// validJSONPath says whether s is the key of a field, or keys of objects in each
// other, with dots between.
func validJSONPath(s string) bool {
	for key := range strings.SplitSeq(s, ".") {
		if key == "" || !isPrintableASCII(key) {
			return false
		}
	}
	return len(s) <= 128
}

func (p *parser) secretHosts(s *Secret, n *yaml.Node) {
	p.texts(n, "hosts", func(c *yaml.Node, v string) {
		h, err := parseHostPattern(v)
		switch {
		case err != nil:
			pe := err.(*patternError)
			p.fail(c, pe.hint, "%s", pe.msg)
		case h.wild && !strings.Contains(h.name, "."):
			p.fail(c, "name the hosts that need it", "a secret can't go to %s", quote(v))
		}
		s.Hosts = append(s.Hosts, h.String())
	})
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.fail(n, "name the hosts that need it", "hosts is empty: the secret could go nowhere")
	}
}

// place says where a secret goes, in words.
func (s *Secret) place() string {
	switch {
	case s.Query != "":
		return "query parameter " + s.Query
	case s.JSON != "":
		return "JSON field " + s.JSON
	case s.WebSocket != "":
		return "field " + s.WebSocket + " of the first message of a WebSocket"
	}
	return "header " + s.Header
}

// tiedWith returns a pattern of hosts for which two secrets have one place and
// different values, "" if there is none. Patterns that name one host alike are the
// same.
func (s *Secret) tiedWith(t *Secret) string {
	if s.place() != t.place() || s.fromText() == t.fromText() {
		return ""
	}
	for _, h := range s.Hosts {
		if slices.Contains(t.Hosts, h) {
			return h
		}
	}
	return ""
}

// fromText is from: in YAML.
func (s *Secret) fromText() string {
	switch {
	case s.OAuth2 != nil:
		return s.OAuth2.text()
	case s.Vault != nil:
		return s.Vault.text()
	case s.AWS != nil:
		return s.AWS.text()
	}
	return s.Origin.text()
}

// placeText is the place in YAML.
func (s *Secret) placeText() string {
	switch {
	case s.Query != "":
		return "query: " + quoteYAML(s.Query)
	case s.JSON != "":
		return "json: " + quoteYAML(s.JSON)
	case s.WebSocket != "":
		return "websocket: {json: " + quoteYAML(s.WebSocket) + "}"
	case s.AWS != nil:
		return "aws: " + s.AWS.text()
	case s.Basic:
		return "basic: {user: " + quoteYAML(s.User) + "}"
	}
	t := "header: " + quoteYAML(s.Header)
	if s.Prefix != "" {
		t += ", prefix: " + quoteYAML(s.Prefix)
	}
	return t
}

// validPlace says whether a secret has one place, as the parser makes it.
func (s *Secret) validPlace() bool {
	header := s.Header == "" && s.Prefix == "" && !s.Basic
	switch {
	case !s.Basic && s.User != "":
		return false
	case s.AWS != nil:
		return s.Header == "Authorization" && s.Prefix == "" && !s.Basic && s.Query == "" && s.JSON == "" && s.WebSocket == ""
	case s.Query != "":
		return header && s.JSON == "" && s.WebSocket == "" && validParameter(s.Query)
	case s.JSON != "":
		return header && s.WebSocket == "" && validJSONPath(s.JSON)
	case s.WebSocket != "":
		return header && validJSONPath(s.WebSocket)
	case s.Basic:
		return s.Header == "Authorization" && s.Prefix == "" && validUser(s.User)
	}
	msg, _ := badHeader(s.Header)
	return msg == "" && http.CanonicalHeaderKey(s.Header) == s.Header && len(s.Prefix) <= 64 && isPrintableASCII(s.Prefix)
}

// validSource says whether a secret has one source, as the parser makes it.
func (s *Secret) validSource() bool {
	none := s.Env == "" && s.File == "" && s.Credential == "" && s.Keyring == "" && len(s.Command) == 0 && s.Every == 0 && s.Expires == 0
	switch {
	case s.OAuth2 != nil:
		return none && s.Vault == nil && s.AWS == nil && s.OAuth2.valid(s.From.Layer)
	case s.Vault != nil:
		return none && s.AWS == nil && s.Vault.valid(s.From.Layer)
	case s.AWS != nil:
		return none && s.AWS.valid(s.From.Layer)
	}
	return s.Origin.valid(s.From.Layer)
}
