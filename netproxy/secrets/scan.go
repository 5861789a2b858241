package secrets

import (
	"bytes"
	"encoding/base64"
)

// pattern is one spelling of a placeholder's core.
type pattern struct {
	text     []byte
	secret   int
	encoding string
}

// group is patterns that begin with the same bytes.
type group struct {
	anchor   []byte
	patterns []pattern
}

// scanner finds patterns in a stream of bytes.
type scanner struct {
	groups  []group
	longest int
}

// newScanner looks for placeholders. They share a marker, so that however many
// secrets there are, a search costs four passes of bytes.Index: the marker, and
// its base64 text at the three alignments.
func newScanner(cores []string) *scanner {
	g := []group{{anchor: []byte(marker)}}
	for a := range 3 {
		g = append(g, group{anchor: base64At(base64.RawStdEncoding, marker, a)})
	}
	for i, core := range cores {
		g[0].patterns = append(g[0].patterns, pattern{[]byte(core), i, ""})
		for a := range 3 {
			g[a+1].patterns = append(g[a+1].patterns, pattern{base64At(base64.RawStdEncoding, core, a), i, "base64"})
		}
	}
	return joinScanner(g)
}

// newReflection looks for one real value, plain and in base64, which is how it
// stands in Basic credentials.
func newReflection(i int, value string, spellings ...string) []group {
	if len(value) < minRedact {
		return nil
	}
	var texts [][]byte
	for _, v := range append([]string{value}, spellings...) {
		texts = append(texts, []byte(v))
	}
	plain := len(texts)
	for a := range 3 {
		std, url := base64At(base64.RawStdEncoding, value, a), base64At(base64.RawURLEncoding, value, a)
		texts = append(texts, std)
		if !bytes.Equal(std, url) {
			texts = append(texts, url)
		}
	}
	var g []group
	for n, t := range texts {
		enc := ""
		if n >= plain {
			enc = "base64"
		}
		g = append(g, group{t, []pattern{{t, i, enc}}})
	}
	return g
}

func joinScanner(groups []group) *scanner {
	sc := &scanner{groups: groups}
	for _, g := range groups {
		for _, p := range g.patterns {
			sc.longest = max(sc.longest, len(p.text))
		}
	}
	return sc
}

// base64At returns the part of s's base64 text that does not depend on what
// stands around it, when s begins at an offset of lead modulo 3. For letters and
// digits the standard and the URL alphabet give the same: the sextets 62 and 63
// need a byte with its top bit set, or one of ASCII's > ? ~ DEL.
func base64At(e *base64.Encoding, s string, lead int) []byte {
	b := append(make([]byte, lead), s...)
	text := e.EncodeToString(b)
	// The first characters depend on the bytes before, the last on those after.
	from := (lead*8 + 5) / 6
	to := len(b) * 8 / 6
	return []byte(text[from:to])
}

// find returns the index of the first secret found, and its encoding; or -1.
func (sc *scanner) find(b []byte) (int, string) {
	for _, g := range sc.groups {
		for rest := b; ; {
			i := bytes.Index(rest, g.anchor)
			if i < 0 {
				break
			}
			for _, p := range g.patterns {
				if bytes.HasPrefix(rest[i:], p.text) {
					return p.secret, p.encoding
				}
			}
			rest = rest[i+1:]
		}
	}
	return -1, ""
}

// beginning returns how many of b's last bytes are the first of a pattern, if
// they are at least minHold and not the whole of it.
func (sc *scanner) beginning(b []byte) (k int) {
	if len(b) < minHold {
		return 0
	}
	last := b[len(b)-1]
	for _, g := range sc.groups {
		for _, p := range g.patterns {
			for n := min(len(p.text)-1, len(b)); n >= minHold && n > k; n-- {
				if p.text[n-1] == last && bytes.HasSuffix(b, p.text[:n]) {
					k = n
				}
			}
		}
	}
	return k
}
