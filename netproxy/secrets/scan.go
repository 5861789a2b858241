package secrets

import (
	"bytes"
	"encoding/base64"
	"io"
)

// pattern is one spelling of a placeholder's core.
type pattern struct {
	text     []byte
	secret   int
	encoding string
}

// scanner finds placeholders in a stream of bytes. All placeholders share a
// marker, so that however many secrets there are, a search costs four passes of
// bytes.Index: the marker, and its base64 text at the three alignments.
type scanner struct {
	anchors [4][]byte
	groups  [4][]pattern // groups[i] begin with anchors[i]
	longest int
}

func newScanner(cores []string) *scanner {
	sc := &scanner{}
	sc.anchors[0] = []byte(marker)
	for a := range 3 {
		sc.anchors[a+1] = base64At(marker, a)
	}
	for i, core := range cores {
		sc.groups[0] = append(sc.groups[0], pattern{[]byte(core), i, ""})
		for a := range 3 {
			sc.groups[a+1] = append(sc.groups[a+1], pattern{base64At(core, a), i, "base64"})
		}
	}
	for _, g := range sc.groups {
		for _, p := range g {
			sc.longest = max(sc.longest, len(p.text))
		}
	}
	return sc
}

// base64At returns the part of s's base64 text that does not depend on what
// stands around it, when s begins at an offset of lead modulo 3. The text is the
// same in the standard and the URL alphabet: the sextets 62 and 63 need a byte
// with its top bit set, or one of ASCII's > ? ~ DEL, and s has letters and digits.
func base64At(s string, lead int) []byte {
	b := append(make([]byte, lead), s...)
	text := base64.RawStdEncoding.EncodeToString(b)
	// The first characters depend on the bytes before, the last on those after.
	from := (lead*8 + 5) / 6
	to := len(b) * 8 / 6
	return []byte(text[from:to])
}

// find returns the index of the first secret found, and its encoding; or -1.
func (sc *scanner) find(b []byte) (int, string) {
	for g, anchor := range sc.anchors {
		for rest := b; ; {
			i := bytes.Index(rest, anchor)
			if i < 0 {
				break
			}
			for _, p := range sc.groups[g] {
				if bytes.HasPrefix(rest[i:], p.text) {
					return p.secret, p.encoding
				}
			}
			rest = rest[i+1:]
		}
	}
	return -1, ""
}

// Body returns a reader that passes body on and fails with a *Violation before
// it returns the last bytes of a placeholder. The nil Set returns body itself.
func (s *Set) Body(body io.ReadCloser) io.ReadCloser {
	if s == nil || body == nil {
		return body
	}
	return &bodyScanner{set: s, body: body}
}

type bodyScanner struct {
	set  *Set
	body io.ReadCloser
	// tail holds the last bytes already passed on, fewer than the longest
	// pattern: one that lies across two reads begins in there.
	tail []byte
	err  error
}

func (r *bodyScanner) Close() error { return r.body.Close() }

func (r *bodyScanner) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	if n > 0 {
		if v := r.inspect(p[:n]); v != nil {
			// The bytes must not be used by a caller that ignores n.
			clear(p[:n])
			r.err = v
			return 0, v
		}
	}
	return n, err
}

func (r *bodyScanner) inspect(chunk []byte) error {
	sc := r.set.scan
	keep := sc.longest - 1
	// Across the border: the tail and as much of the chunk as a pattern that
	// begins in the tail can reach.
	if len(r.tail) > 0 {
		n := min(len(chunk), keep)
		r.tail = append(r.tail, chunk[:n]...)
		if i, enc := sc.find(r.tail); i >= 0 {
			return r.violation(i, enc)
		}
	}
	if i, enc := sc.find(chunk); i >= 0 {
		return r.violation(i, enc)
	}
	switch {
	case len(chunk) >= keep:
		r.tail = append(r.tail[:0], chunk[len(chunk)-keep:]...)
	case len(r.tail) == 0:
		r.tail = append(r.tail, chunk...)
	case len(r.tail) > keep: // the chunk has been appended above
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-keep:]...)
	}
	return nil
}

func (r *bodyScanner) violation(i int, enc string) error {
	return &Violation{Secret: r.set.secrets[i].Name, Where: "body", Encoding: enc, Reason: "it may stand in its declared header only"}
}
