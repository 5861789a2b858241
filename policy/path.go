package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxPath bounds a path in bytes.
const maxPath = 64 << 10

// Errors of CanonicalPath. They are wrapped with the path.
var (
	ErrPathForm      = errors.New("the path does not begin with a slash")
	ErrPathLong      = errors.New("the path is longer than 64 KiB")
	ErrPathEscape    = errors.New("the path has a % that is not followed by two hexadecimal digits")
	ErrPathByte      = errors.New("the path has a control character, space or backslash")
	ErrPathAmbiguous = errors.New("what the path means depends on how a server decodes it (dot segments behind an encoded slash, backslash, semicolon or second encoding)")
)

// CanonicalPath returns the one spelling of an escaped path (no query) under
// which it is judged and forwarded: %-encoded unreserved characters decoded
// (RFC 3986 section 6.2.2.2), other triplets in upper case, bytes that a path
// can't have encoded, dot segments removed (section 5.2.4), also those written
// as %2e. An empty path becomes "/"; "*" (of OPTIONS) stays. Encoded slashes
// stay encoded.
//
// A path in which some server would see dot segments after that is refused:
// behind %2F, %5C, a backslash or ";", or in a second or deeper encoding. So
// are control characters and spaces, raw or encoded, but for %20.
//
// A path that is canonical already comes back without allocation.
func CanonicalPath(escapedPath string) (string, error) {
	s := escapedPath
	switch {
	case s == "":
		return "/", nil
	case s == "*":
		return s, nil
	case s[0] != '/':
		return "", fmt.Errorf("%s: %w", quote(s), ErrPathForm)
	case len(s) > maxPath:
		return "", fmt.Errorf("%s: %w", quote(s), ErrPathLong)
	case isPlainPath(s):
		return s, nil
	}
	b, err := normalise(s)
	if err != nil {
		return "", fmt.Errorf("%s: %w", quote(s), err)
	}
	out := removeDots(b)
	if dotsWhenDecoded(out) {
		return "", fmt.Errorf("%s: %w", quote(s), ErrPathAmbiguous)
	}
	return out, nil
}

// isPlainPath says that s is canonical and has only one reading but for doubled slashes.
func isPlainPath(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !pchar(c) && c != '/' || c == ';' {
			return false
		}
		if c == '.' && s[i-1] == '/' {
			return false // perhaps a dot segment: i > 0 because s[0] is '/'
		}
	}
	return true
}

// pchar is what may stand raw in a path segment (RFC 3986 section 3.3).
func pchar(c byte) bool {
	return unreserved(c) || strings.IndexByte("!$&'()*+,;=:@", c) >= 0
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// triplet returns the byte that s[i:i+3] encodes.
func triplet(s string, i int) (byte, bool) {
	if i+2 >= len(s) || s[i] != '%' {
		return 0, false
	}
	hi, lo := unhex(s[i+1]), unhex(s[i+2])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}

func control(c byte) bool { return c < 0x20 || c == 0x7f }

const upperhex = "0123456789ABCDEF"

func appendTriplet(b []byte, c byte) []byte {
	return append(b, '%', upperhex[c>>4], upperhex[c&15])
}

// normalise brings every byte of the path into its one form.
func normalise(s string) ([]byte, error) {
	b := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			d, ok := triplet(s, i)
			if !ok {
				return nil, ErrPathEscape
			}
			i += 2
			switch {
			case control(d):
				return nil, ErrPathByte
			case unreserved(d):
				b = append(b, d)
			default:
				b = appendTriplet(b, d)
			}
		case control(c) || c == ' ' || c == '\\':
			return nil, ErrPathByte
		case c == '/' || pchar(c):
			b = append(b, c)
		default: // not ASCII, or one of "<>[]^`{|}?#
			b = appendTriplet(b, c)
		}
	}
	return b, nil
}

// removeDots is RFC 3986 section 5.2.4 for a path that begins with a slash.
func removeDots(b []byte) string {
	out := b[:0] // never longer than what is read
	for i := 0; i < len(b); {
		// b[i] is the slash before a segment.
		j := i + 1
		for j < len(b) && b[j] != '/' {
			j++
		}
		last := j == len(b)
		switch string(b[i+1 : j]) {
		case ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			k := len(out)
			for k > 0 && out[k-1] != '/' {
				k--
			}
			out = out[:max(k-1, 0)]
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, b[i:j]...)
		}
		i = j
	}
	if len(out) == 0 {
		return "/"
	}
	return string(out)
}

// dotsWhenDecoded says whether the most lenient server imaginable would find a
// dot segment in a canonical path: it decodes until nothing is left to decode,
// reads backslashes and look-alikes as slashes and dots, and cuts segments at ";".
func dotsWhenDecoded(s string) bool {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, ';') < 0 {
		return false
	}
	d := decodeFully(s)
	d = lookalikes(d)
	for len(d) > 0 {
		var seg string
		if i := strings.IndexAny(d, `/\`); i >= 0 {
			seg, d = d[:i], d[i+1:]
		} else {
			seg, d = d, ""
		}
		seg, _, _ = strings.Cut(seg, ";")
		for i := 0; i < len(seg); i++ {
			if control(seg[i]) { // %2500 and deeper
				return true
			}
		}
		if seg = strings.Trim(seg, " "); seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

// decodeFully removes every level of %-encoding. Each round shortens the text,
// and a round with nothing to decode is the last: so at most one pass per
// level, and a level costs two bytes of input.
func decodeFully(s string) string {
	for strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if d, ok := triplet(s, i); ok {
				// Decoding in place is safe against quadratic work: "%25252525…"
				// collapses here in one pass, because what was just decoded is
				// looked at again together with what follows.
				b = append(b, d)
				i += 2
				for n := len(b); n >= 3; n = len(b) {
					e, ok := triplet(string(b[n-3:]), 0)
					if !ok {
						break
					}
					b = append(b[:n-3], e)
				}
				continue
			}
			b = append(b, s[i])
			for n := len(b); n >= 3; n = len(b) {
				e, ok := triplet(string(b[n-3:]), 0)
				if !ok {
					break
				}
				b = append(b[:n-3], e)
			}
		}
		if len(b) == len(s) {
			return s
		}
		s = string(b)
	}
	return s
}

// lookalikes maps what normalising servers take for dots and slashes: the
// full-width forms, the leaders, and UTF-8 in more bytes than it needs.
func lookalikes(s string) string {
	if isASCII(s) {
		return s
	}
	return strings.NewReplacer(
		"\uff0e", ".", "\u2024", ".", "\u2025", "..", "\uff0f", "/", "\uff3c", "/", "\u2215", "/", "\u2044", "/", "\uff1b", ";",
		"\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", "/", "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/", "\xe0\x81\x9c", "/",
	).Replace(s)
}
