package secrets

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// onePlace says whether the secret has exactly one place.
func (c *Secret) onePlace() bool {
	n := 0
	for _, p := range []string{c.Header, c.Query, c.JSON, c.WebSocket} {
		if p != "" {
			n++
		}
	}
	return n == 1 && (c.Header != "" || !c.Basic && c.Prefix == "") && !(c.Basic && c.Prefix != "")
}

// place says in words where the value may go out.
func (c *Secret) place() string {
	switch {
	case c.Query != "":
		return "query parameter " + c.Query
	case c.JSON != "":
		return "JSON field " + c.JSON
	case c.WebSocket != "":
		return "field " + c.WebSocket + " of the first message of a WebSocket"
	}
	return "header " + c.Header
}

// complete returns the whole value of the secret's header.
func (c *Secret) complete(v Value) string {
	if c.Basic {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+v.reveal()))
	}
	return c.Prefix + v.reveal()
}

// spellings returns how else a value is written where it goes out.
func (c *Secret) spellings(value Value) (out []string) {
	v := value.reveal()
	other := v
	switch {
	case c.Query != "":
		other = url.QueryEscape(v)
	case c.JSON != "" || c.WebSocket != "":
		other = strings.Trim(string(jsonText(v)), `"`)
	}
	if other != v {
		out = append(out, other)
	}
	return out
}

// jsonText writes a JSON string.
func jsonText(v string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(v) //nolint:errcheck // strings always encode
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// allows reports whether the secret is declared for a canonical host.
func (c *Secret) allows(host string) bool { return c.closeness(host) > 0 }

// closeness says how exactly the secret's hosts name this one: 0 not at all, more
// for longer patterns, most for the name itself.
func (c *Secret) closeness(host string) (most int) {
	for _, h := range c.Hosts {
		if suffix, ok := strings.CutPrefix(h, "*"); ok {
			if len(host) > len(suffix) && strings.HasSuffix(host, suffix) && strings.HasPrefix(suffix, ".") {
				most = max(most, len(suffix))
			}
		} else if h == host && h != "" {
			return 1 << 20
		}
	}
	return most
}

// goes says whether a secret may go to the target: it is declared for it, and no
// other one is declared more exactly for the same place there. Of two that are
// declared alike the placeholder says which is meant.
func (s *Set) goes(c *Secret, target hooks.Target) bool {
	near := c.closeness(target.Host)
	if near == 0 || target.Host == "" {
		return false
	}
	for i := range s.secrets {
		if o := &s.secrets[i]; o.place() == c.place() && o.closeness(target.Host) > near {
			return false
		}
	}
	return true
}
