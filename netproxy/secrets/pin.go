package secrets

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Foreign says that a request to a pinned host has, or may have, a credential
// that is not ours. It must be refused. Its text quotes names, never a value.
type Foreign struct {
	Pin    *policy.Pin
	Where  string // e.g. "header Authorization", "query parameter key"
	Reason string
	Remedy string
}

// Error returns one line.
func (f *Foreign) Error() string {
	s := "requests to this host carry secret " + f.Pin.Secret + " and no other credential (pin)"
	if f.Where != "" {
		s += ": " + f.Where
	}
	return s + " " + f.Reason
}

// Hint says what a user who meant it can do.
func (f *Foreign) Hint() string { return f.Remedy }

// Pinned checks that a request as the pen sent it has no credential but
// placeholders of this Set where they belong. It is the pin's whole judgement:
//
//   - a header in which a secret of this host goes holds exactly that secret's
//     placeholder, once, after its prefix or alone; the pinned one may be absent
//     (Inject puts it in);
//   - no other header's name is one in which credentials travel, whatever it
//     holds: authorization of any scheme, cookies, keys, tokens, signatures;
//   - every header that is not known to hold none, WebSocket subprotocols among
//     them, has no value that looks like a credential, see keyLike;
//   - the query has no parameter of such a name, nor a value of such a look, in
//     any encoding, and its names can be read;
//   - there are no trailers.
//
// Names in pass_headers and pass_query are excepted. What it does not look at: the
// path, bodies, and the frames of a WebSocket.
func (s *Set) Pinned(p *policy.Pin, h, trailer http.Header, query string, target hooks.Target, confidential bool) error {
	foreign := func(where, reason, remedy string) error { return &Foreign{p, where, reason, remedy} }
	c := s.named(p.Secret)
	switch {
	case c == nil:
		return foreign("", "which has no value in this session", "set what the secret's from: names, and start the session anew")
	case c.Header == "" || !s.goes(c, target):
		return foreign("", "which is not declared for this host, or another one more exactly", "add the host to the secret's hosts")
	case !confidential:
		return foreign("", "which would travel in clear text", "use https")
	case len(trailer) > 0:
		return foreign("the request", "announces trailers, which can't be judged before they come", "send them as headers")
	}
	var places, looks []string
	for name, values := range h {
		if own := s.placed(name, target, c); len(own) > 0 {
			if len(values) != 1 || !slices.ContainsFunc(own, func(o *Secret) bool { return o.exactly(values[0]) }) {
				return foreign("header "+name, "must be the placeholder of "+own[0].Name+" alone, or absent", "let the tool read the variable "+own[0].Name+", or leave the header out")
			}
			continue
		}
		if slices.Contains(p.PassHeaders, name) || harmless(name) {
			continue
		}
		if credentialName(name) {
			places = append(places, text(name))
			continue
		}
		for _, v := range values {
			// Subprotocols carry keys behind a name: openai-insecure-api-key.KEY
			if keyLike(v) || name == "Sec-Websocket-Protocol" && credentialName(v) {
				looks = append(looks, text(name))
				break
			}
		}
	}
	// All of them at once: who wants them excepted names them in one go.
	for _, list := range []struct {
		names     []string
		one, more string
	}{{places, "is a place for credentials", "are places for credentials"}, {looks, "holds what looks like a credential", "hold what looks like a credential"}} {
		slices.Sort(list.names)
		switch remedy := "remove it, or name it under pass_headers of the pin"; len(list.names) {
		case 0:
		case 1:
			return foreign("header "+list.names[0], list.one, remedy)
		default:
			return foreign("headers "+strings.Join(list.names[:min(8, len(list.names))], ", "), list.more, "remove them, or name them under pass_headers of the pin")
		}
	}
	return s.pinnedQuery(p, query, target)
}

func (s *Set) pinnedQuery(p *policy.Pin, query string, target hooks.Target) error {
	// Servers differ in what separates parameters.
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(part, "=")
		foreign := func(reason, remedy string) error {
			return &Foreign{p, "query parameter " + text(name), reason, remedy}
		}
		var err error
		if name, err = url.QueryUnescape(name); err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return foreign("has a bad escape", "")
		}
		if slices.Contains(p.PassQuery, name) || s.parameter(part, target) != nil {
			continue // the latter is ours
		}
		remedy := "remove it, or name it under pass_query of the pin"
		// Some decode twice.
		for range 2 {
			if credentialName(name) {
				return foreign("is a place for credentials", remedy)
			}
			if keyLike(value) || keyLike(name) {
				return foreign("holds what looks like a credential", remedy)
			}
			name, value = string(unescape(name)), string(unescape(value))
		}
	}
	return nil
}

// Inject puts the pinned secret into h, which must be a copy that only goes
// upstream, when the request came without it. Call it after Pinned and Swap.
func (s *Set) Inject(p *policy.Pin, h http.Header, used []Swapped) ([]Swapped, error) {
	c := s.named(p.Secret)
	if c == nil || len(h[c.Header]) > 0 {
		return used, nil
	}
	value, err := c.value()
	if err != nil {
		return nil, err
	}
	h[c.Header] = []string{c.complete(value)}
	return append(used, Swapped{c.Name, c.Header, value}), nil
}

func (s *Set) named(name string) *Secret {
	if s == nil {
		return nil
	}
	for i := range s.secrets {
		if s.secrets[i].Name == name {
			return &s.secrets[i]
		}
	}
	return nil
}

// placed returns the secrets that go in this header to this host: only the
// pinned one where that goes.
func (s *Set) placed(header string, target hooks.Target, pinned *Secret) (out []*Secret) {
	if header == pinned.Header {
		return []*Secret{pinned}
	}
	for i := range s.secrets {
		if c := &s.secrets[i]; c.Header == header && s.goes(c, target) {
			out = append(out, c)
		}
	}
	return out
}

// exactly says whether a header value is the placeholder alone, or after the
// prefix, or the password of the declared user: nothing of it is the pen's choice.
func (c *Secret) exactly(v string) bool {
	t := strings.TrimSpace(v)
	if c.Basic {
		scheme, rest, _ := strings.Cut(t, " ")
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		return err == nil && strings.EqualFold(scheme, "Basic") && string(raw) == c.User+":"+c.Placeholder
	}
	if t == c.Placeholder {
		return true
	}
	n := len(t) - len(c.Placeholder)
	return n > 0 && n == len(c.Prefix) && strings.EqualFold(t[:n], c.Prefix) && t[n:] == c.Placeholder
}

// text makes a name of the pen's fit for an error.
func text(name string) string {
	if len(name) > 64 || keyLike(name) {
		return "with an odd name"
	}
	for i := range len(name) {
		if c := name[i]; c <= 0x20 || c >= 0x7f {
			return "with an odd name"
		}
	}
	return name
}

// harmless knows headers that no server takes a credential from, though their
// values can look like one: what HTTP itself defines, and names for tracing.
func harmless(name string) bool {
	switch name {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers", "Access-Control-Request-Method",
		"Cache-Control", "Connection", "Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length",
		"Content-Location", "Content-Md5", "Content-Range", "Content-Type", "Date", "Digest", "Dnt", "Expect", "If-Match",
		"If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Pragma", "Prefer", "Priority", "Range",
		"Referer", "Repr-Digest", "Te", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "Via", "Want-Digest",
		"Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Version",
		"Idempotency-Key", "X-Idempotency-Key", "Request-Id", "X-Request-Id", "X-Correlation-Id", "X-Client-Request-Id",
		"Traceparent", "Tracestate", "Baggage", "Sentry-Trace", "B3", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid",
		"Grpc-Timeout", "Grpc-Encoding", "Grpc-Accept-Encoding", "Grpc-Trace-Bin":
		return true
	}
	return false
}

// credentialName says whether a name of a header, a query parameter or a
// subprotocol is one for credentials. It looks at the words in it, in any case
// and with any separators: X-Api-Key, api_key, apiKey, user[token].
func credentialName(name string) bool {
	last := ""
	for w := range words(name) {
		if credentialWord(w) && !(w == "token" && pagination(last)) {
			return true
		}
		last = w
	}
	return false
}

// pagination says whether a token after this word is a place in a list.
func pagination(word string) bool {
	switch word {
	case "page", "next", "continuation", "sync", "previous", "start":
		return true
	}
	return false
}

func credentialWord(w string) bool {
	switch w {
	case "keys", "sig", "pass", "pw", "pat", "jwt", "sas", "otp", "hmac", "cred", "creds", "assertion":
		return true
	case "author", "authors", "authority", "monkey", "keyword", "keywords":
		return false
	}
	for _, end := range [...]string{"key", "token", "auth", "pwd"} {
		if strings.HasSuffix(w, end) {
			return true
		}
	}
	for _, part := range [...]string{"auth", "apikey", "accesskey", "secret", "passw", "passphrase", "credential", "cookie", "bearer", "signature"} {
		if strings.Contains(w, part) {
			return true
		}
	}
	return false
}

// words yields a name's runs of letters and digits in lower case, cut where a
// capital follows a small letter. So apiKey has two and X_API_KEY three.
func words(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := -1
		for i := 0; i <= len(name); i++ {
			inside := i < len(name) && alnum(name[i])
			hump := inside && i > start && start >= 0 && class(name[i]) == upper && class(name[i-1]) == lower
			if start >= 0 && (!inside || hump) {
				if !yield(strings.ToLower(name[start:i])) {
					return
				}
				start = -1
			}
			if inside && start < 0 {
				start = i
			}
		}
	}
}

const (
	other = iota
	lower
	upper
	digit
)

func class(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'Z':
		return upper
	case '0' <= c && c <= '9':
		return digit
	}
	return other
}

func alnum(c byte) bool { return class(c) != other }

// Bounds of what looks like a credential.
const (
	longRun   = 24 // letters and digits without a break: no word, no number that counts something
	wildTurns = 6  // changes between small letters, capitals and digits
)

// keyLike says whether a value holds what looks like a credential: a run of
// letters and digits that is too long for a word, or text without spaces that
// changes so often between small letters, capitals and digits as names, numbers,
// dates and versions don't. Random keys of 16 characters and more do, in
// hexadecimal, base 64 and as UUIDs; a word that a person chose does not.
func keyLike(v string) bool {
	run, turns, last := 0, 0, other
	for i := range len(v) {
		c := class(v[i])
		switch {
		case c != other:
			if run++; run >= longRun {
				return true
			}
			// Hello is one word: a capital before a small letter is no turn.
			if last != other && c != last && !(last == upper && c == lower) {
				if turns++; turns >= wildTurns {
					return true
				}
			}
			last = c
		case strings.IndexByte("-_.+/=~:%|", v[i]) >= 0:
			run, last = 0, other
		default:
			run, turns, last = 0, 0, other
		}
	}
	return false
}
