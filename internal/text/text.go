// Package text makes bytes that a pen may have chosen safe to show.
//
// Its hazard is the reader's terminal: a name, a path or an error text can hold
// escape sequences that repaint earlier lines, C1 controls that some terminals
// obey without an ESC, direction marks that reverse what is read
// (CVE-2021-42574), and runes that take no room at all. Whatever reaches a
// terminal goes through Escape; the audit uses Plain for its own form.
// Everything may import it, it imports nothing of this module.
package text

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// Plain reports whether r may stand as it is in a log line or on a terminal:
// printable, visible, without influence on what stands beside it. Controls, C1,
// bidi and format runes, line and paragraph separators, private use and
// unassigned code points are not plain.
func Plain(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r < 0x7f
	}
	switch {
	case r == utf8.RuneError, !unicode.IsPrint(r):
		return false
	// Assigned as letters, symbols or marks, but nothing is seen of them.
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x2800, r == 0x3164, r == 0xffa0:
		return false
	case r >= 0xfe00 && r <= 0xfe0f, r >= 0x180b && r <= 0x180f, r >= 0xe0100 && r <= 0xe01ef:
		return false // variation selectors
	}
	return true
}

// Escape returns s in a form that can be printed in one terminal line: what is
// not Plain becomes \n, \t, \r, \xNN (a byte: ASCII control or invalid UTF-8),
// \uNNNN or \UNNNNNNNN, and a backslash becomes two, so that the result can't
// be mistaken for another. A string without any of these is returned unchanged.
func Escape(s string) string {
	if isPlain(s) {
		return s
	}
	return string(AppendEscape(make([]byte, 0, len(s)+16), s))
}

func isPlain(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f || c == '\\' {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if !Plain(r) {
			return false
		}
		i += n
	}
	return true
}

// AppendEscape appends Escape(s) to dst.
func AppendEscape(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\':
			dst = append(dst, '\\', '\\')
		case r == utf8.RuneError && n <= 1:
			dst = append(dst, '\\', 'x', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		case Plain(r):
			dst = append(dst, s[i:i+n]...)
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r < utf8.RuneSelf:
			dst = append(dst, '\\', 'x', hexDigits[r>>4], hexDigits[r&15])
		case r <= 0xffff:
			dst = append(dst, '\\', 'u')
			dst = appendHex(dst, r, 4)
		default:
			dst = append(dst, '\\', 'U')
			dst = appendHex(dst, r, 8)
		}
		i += n
	}
	return dst
}

func appendHex(dst []byte, r rune, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[(r>>(4*i))&15])
	}
	return dst
}

// Clip returns Escape(s) shortened to at most width runes, the last of them
// "…" when something was cut off. A width below 1 gives "".
func Clip(s string, width int) string {
	if width < 1 {
		return ""
	}
	// No more than this can be shown: spares escaping a long hostile string.
	if len(s) > utf8.UTFMax*(width+1) {
		s = s[:utf8.UTFMax*(width+1)]
	}
	s = Escape(s)
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n == width {
			break
		}
		b.WriteRune(r)
	}
	b.WriteString("…")
	return b.String()
}

// JSON returns a JSON document in which what is not Plain is written as \u
// escapes. encoding/json leaves DEL, C1, bidi and invisible runes as they are; in
// a valid document they stand inside strings only, where an escape means the same.
func JSON(doc []byte) []byte {
	plain := true
	for i := 0; i < len(doc) && plain; i++ {
		plain = doc[i] < 0x7f
	}
	if plain {
		return doc
	}
	out := make([]byte, 0, len(doc)+16)
	for i := 0; i < len(doc); {
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case r < 0x7f || Plain(r):
			out = append(out, doc[i:i+n]...)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = appendHex(append(out, '\\', 'u'), hi, 4)
			out = appendHex(append(out, '\\', 'u'), lo, 4)
		default:
			out = appendHex(append(out, '\\', 'u'), r, 4)
		}
		i += n
	}
	return out
}
