package secrets

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Violation says that a placeholder was about to go where its secret was not
// declared for. The request must be refused. Its text names the secret and the
// place, never the value.
type Violation struct {
	Secret   string // name; "" when the placeholder is of another session
	Where    string // e.g. "header Authorization", "request target", "body"
	Encoding string // "", "base64", "percent"
	Reason   string // why it may not go there
}

// Error returns one line.
func (v *Violation) Error() string {
	name, enc := v.Secret, ""
	if name == "" {
		name = "of another session"
	}
	if v.Encoding != "" {
		enc = " (" + v.Encoding + ")"
	}
	return fmt.Sprintf("placeholder of secret %s in %s%s: %s", name, v.Where, enc, v.Reason)
}

// Hint says what a user who meant it can do.
func (v *Violation) Hint() string {
	return "declare the host and the place under secrets: in the policy"
}

// Swapped names a secret that was put into a request, for the audit.
type Swapped struct {
	Secret string
	Header string // or the query parameter or JSON field, in words
	value  Value
}

// Swap puts real values in the place of placeholders in h, which must be a copy
// that only goes upstream. target is the bound target; confidential says that
// the connection to it is encrypted and verified, or stays on the host. Call it
// after the verdict and after Scan. On an error nothing may be sent.
func (s *Set) Swap(h http.Header, target hooks.Target, confidential bool) ([]Swapped, error) {
	if s == nil {
		return nil, nil
	}
	var done []Swapped
	for name, values := range h {
		for j, v := range values {
			i, _ := s.find(v)
			if i < 0 {
				continue
			}
			c := &s.secrets[i]
			if c.AWS != nil && name == c.Header {
				continue // Sign's, when all else is as it leaves
			}
			refuse := func(reason string) error {
				return &Violation{Secret: c.Name, Where: "header " + name, Reason: reason}
			}
			switch {
			case name != c.Header || !s.goes(c, target):
				return nil, refuse(s.reason(i, target))
			case !confidential:
				return nil, refuse("the real value would travel in clear text")
			}
			value, err := c.value()
			if err != nil {
				return nil, err
			}
			out, ok := c.replace(v, value)
			if !ok && c.Basic {
				return nil, refuse("it must be the password of user " + c.User + " in Basic credentials")
			}
			if !ok {
				return nil, refuse("it must stand alone, after a scheme such as Bearer, or in Basic credentials")
			}
			values[j] = out
			done = append(done, Swapped{c.Name, c.Header, value})
		}
	}
	return done, nil
}

// replace returns the header value with the real one in it; false says that
// the placeholder does not stand there in a known form.
func (c *Secret) replace(v string, value Value) (string, bool) {
	t := strings.TrimSpace(v)
	if c.Basic {
		return c.complete(value), c.exactly(t)
	}
	if t == c.Placeholder {
		return c.complete(value), true
	}
	if n := len(c.Prefix); n > 0 {
		// Schemes are case-insensitive (RFC 9110, 11.1).
		ok := len(t) == n+len(c.Placeholder) && strings.EqualFold(t[:n], c.Prefix) && t[n:] == c.Placeholder
		return c.Prefix + value.reveal(), ok
	}
	scheme, rest, ok := strings.Cut(t, " ")
	if !ok || !isToken(scheme) {
		return "", false
	}
	rest = strings.TrimSpace(rest)
	if rest == c.Placeholder {
		return scheme + " " + value.reveal(), true
	}
	if !strings.EqualFold(scheme, "Basic") {
		return "", false
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return "", false
	}
	user, pass, ok := strings.Cut(string(raw), ":")
	switch {
	case !ok:
		return "", false
	case user == c.Placeholder && !strings.Contains(pass, marker):
		user = value.reveal()
	case pass == c.Placeholder && !strings.Contains(user, marker):
		pass = value.reveal()
	default:
		return "", false
	}
	return scheme + " " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), true
}

// isToken reports whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= 0x20 || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// Scan looks for placeholders where none may be: in the method, in the request
// target (path and query as sent), in every header but the declared one of a
// declared host, and in header names. It is called with the request as the pen
// sent it, before Swap.
func (s *Set) Scan(method, requestURI string, h http.Header, target hooks.Target) error {
	if s == nil {
		return nil
	}
	path, query, _ := strings.Cut(requestURI, "?")
	if err := s.scanText("request target", path); err != nil {
		return err
	}
	if err := s.scanQuery(query, target); err != nil {
		return err
	}
	if err := s.scanText("method", method); err != nil {
		return err
	}
	// A host name is case-folded before it gets here; its labels may be one.
	if i := s.findFold(target.Host); i >= 0 {
		return &Violation{Secret: s.secrets[i].Name, Where: "host name", Reason: "it may stand in its declared place only"}
	}
	carries := ""
	for name, values := range h {
		if err := s.scanText("header names", name); err != nil {
			return err
		}
		for _, v := range values {
			i, enc := s.find(v)
			if i < 0 {
				if strings.Contains(v, marker) {
					return &Violation{Where: "header " + name, Reason: "the tool has kept it from an earlier run; let it read the variable anew"}
				}
				continue
			}
			c := &s.secrets[i]
			if name == c.Header && s.goes(c, target) {
				// Swap judges the form.
				carries = c.Name
				continue
			}
			return &Violation{Secret: c.Name, Where: "header " + name, Encoding: enc, Reason: s.reason(i, target)}
		}
	}
	if carries != "" {
		switch strings.ToUpper(method) {
		case "TRACE", "TRACK", "DEBUG", "CONNECT":
			return &Violation{Secret: carries, Where: "a " + strings.ToUpper(method) + " request", Reason: "the server would send the real value back"}
		}
	}
	return nil
}

// Trailer looks for placeholders in a request's trailers, where none may be: no
// server takes a credential there.
func (s *Set) Trailer(h http.Header) error {
	if s == nil {
		return nil
	}
	for name, values := range h {
		for _, v := range append([]string{name}, values...) {
			if err := s.scanText("a trailer", v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Set) reason(i int, target hooks.Target) string {
	c := &s.secrets[i]
	if s.goes(c, target) {
		return "the secret is declared for " + c.place() + " only"
	}
	if c.allows(target.Host) {
		return "another secret is declared more exactly for this host"
	}
	return "the secret is not declared for this host"
}

func (s *Set) scanText(where, text string) error {
	if i, enc := s.find(text); i >= 0 {
		return &Violation{Secret: s.secrets[i].Name, Where: where, Encoding: enc, Reason: "it may stand in its declared place only"}
	}
	return nil
}

// find returns the index of the secret whose placeholder is in text, plain, in
// base64 at any alignment, or percent-encoded; or -1.
func (s *Set) find(text string) (int, string) {
	if len(text) < coreLen {
		return -1, ""
	}
	if i, enc := s.scan.find([]byte(text)); i >= 0 {
		return i, enc
	}
	if strings.IndexByte(text, '%') >= 0 {
		if i, _ := s.scan.find(unescape(text)); i >= 0 {
			return i, "percent"
		}
	}
	return -1, ""
}

// findFold finds a placeholder in a canonical (lower-case) host name, in which
// it could leave by DNS.
func (s *Set) findFold(host string) int {
	if len(host) < coreLen {
		return -1
	}
	for i, core := range s.cores {
		if strings.Contains(host, strings.ToLower(core)) {
			return i
		}
	}
	return -1
}

// unescape decodes percent-encoding leniently: what is not an escape stays.
func unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
