package secrets

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// maxJSON bounds a body in which a value may be put: it is held in memory.
const maxJSON = 1 << 20

// inJSON says whether a body is one into which a value may go: JSON, as it is, to
// a host that a JSON field is declared for.
func (s *Set) inJSON(h http.Header, target hooks.Target) bool {
	if s == nil || len(h["Content-Encoding"]) > 0 || len(h["Content-Type"]) != 1 {
		return false
	}
	kind, _, err := mime.ParseMediaType(h["Content-Type"][0])
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return false
	}
	for i := range s.secrets {
		if c := &s.secrets[i]; c.JSON != "" && s.goes(c, target) {
			return true
		}
	}
	return false
}

// Whole is a body that somebody has read already and still holds.
type Whole interface {
	// Whole reads what is left, if all of that is held. The caller must not change it.
	Whole() (doc []byte, ok bool)
}

// SwapBody is Swap for a body that Body has deferred. r must be a copy that only
// goes upstream. Its body is read whole, up to a mebibyte; a placeholder anywhere
// but as the value of a declared field, and one in a longer body, is a violation.
func (s *Set) SwapBody(r *http.Request, target hooks.Target, confidential bool) ([]Swapped, error) {
	if s == nil || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	body := r.Body
	var doc []byte
	whole := false
	if w, ok := body.(Whole); ok {
		doc, whole = w.Whole()
	}
	if !whole {
		var err error
		if doc, err = io.ReadAll(io.LimitReader(body, maxJSON+1)); err != nil {
			return nil, err
		}
	}
	if len(doc) > maxJSON {
		r.Body = s.scanned(readCloser{io.MultiReader(bytes.NewReader(doc), body), body})
		return nil, nil
	}
	out, rest, done, err := s.swapJSON(doc, target, inBody)
	if err != nil {
		return nil, err
	}
	if i, enc := s.scan.find(rest); i >= 0 {
		return nil, &Violation{Secret: s.secrets[i].Name, Where: "body", Encoding: enc, Reason: s.reason(i, target)}
	}
	if len(done) > 0 && !confidential {
		return nil, &Violation{Secret: done[0].Secret, Where: done[0].Header, Reason: "the real value would travel in clear text"}
	}
	r.Body = readCloser{bytes.NewReader(out), body}
	if len(r.Trailer) == 0 {
		r.ContentLength = int64(len(out))
		r.TransferEncoding = nil
	}
	return done, nil
}

// maxDepth bounds how deep a document is looked into.
const maxDepth = 100

type readCloser struct {
	io.Reader
	io.Closer
}

// inBody and inMessage are the field that a secret is declared for, "" for none.
func inBody(c *Secret) string    { return c.JSON }
func inMessage(c *Secret) string { return c.WebSocket }

// swapJSON puts values into a document's declared fields. rest is the document
// without what was replaced. What is not JSON is returned as it is.
func (s *Set) swapJSON(doc []byte, target hooks.Target, in func(*Secret) string) (out, rest []byte, done []Swapped, err error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	var (
		path  []string // keys of the objects that are open; "" for an array
		key   = ""     // of the value to come
		isKey = false  // a key is to come
		from  = 0      // what of doc is in out
	)
	for before := 0; ; before = int(dec.InputOffset()) {
		tok, err := dec.Token()
		if err != nil {
			break // its end, or no JSON: the rest is searched
		}
		switch t := tok.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if len(path) > 2*maxDepth {
					return append(out, doc[from:]...), append(rest, doc[from:]...), done, nil
				}
				path = append(path, key)
				if key = "\x00"; t == '{' { // no declared key has one
					key = ""
				}
				isKey = t == '{'
				path = append(path, string(rune(t)))
				continue
			}
			path = path[:len(path)-2]
		case string:
			if isKey {
				key, isKey = t, false
				continue
			}
			if c := s.field(path, key, t, target, in); c != nil {
				value, err := c.value()
				if err != nil {
					return nil, nil, nil, err
				}
				start := before + bytes.IndexByte(doc[before:], '"')
				out = append(append(out, doc[from:start]...), jsonText(value.reveal())...)
				rest = append(rest, doc[from:start]...)
				from = int(dec.InputOffset())
				done = append(done, Swapped{c.Name, c.place(), value})
			}
		}
		// A value has ended: in an object a key comes next.
		isKey = len(path) > 0 && path[len(path)-1] == "{"
		if isKey {
			key = ""
		} else {
			key = "\x00"
		}
	}
	return append(out, doc[from:]...), append(rest, doc[from:]...), done, nil
}

// field returns the secret whose placeholder value is, at its declared place.
func (s *Set) field(path []string, key, value string, target hooks.Target, in func(*Secret) string) *Secret {
	for i := range s.secrets {
		c := &s.secrets[i]
		if in(c) == "" || value != c.Placeholder || !s.goes(c, target) {
			continue
		}
		// path has two entries for each open value: its key and its kind.
		want := strings.Split(in(c), ".")
		if len(path) != 2*len(want) || key != want[len(want)-1] {
			continue
		}
		same := true
		for n := range want {
			same = same && path[2*n+1] == "{" && (n == 0 || path[2*n] == want[n-1])
		}
		if same {
			return c
		}
	}
	return nil
}
