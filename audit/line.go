package audit

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/internal/text"
)

// Bounds of what one record can hold, in bytes before escaping. An event with
// every string at its bound still makes a line shorter than maxLine.
const (
	maxLine   = 1 << 20
	maxName   = 512  // names, classes, rules
	maxText   = 1024 // reasons, details, errors
	maxPath   = 4096
	maxItem   = 2048     // one element of a list
	maxItems  = 256      // elements of a list
	maxRows   = 32       // policy files, capabilities
	maxList   = 16 << 10 // all elements of a list
	maxKeys   = 32       // query parameters
	maxKey    = 64
	maxAlone  = 16 // a query parameter without a value that is longer may be a secret itself
	timeWidth = len("2006-01-02T15:04:05.000000000Z")
)

const hexDigits = "0123456789abcdef"

// line encodes records by appending; it allocates only when buf grows. Every
// string goes through str or quoted, so that one place escapes and bounds.
type line struct {
	buf []byte
	cut bool // something of the record being encoded was left out

	second int64 // Unix second that stamp holds
	stamp  [timeWidth - len("000000000Z")]byte
}

// begin starts the record of one line with the members that all have.
func (l *line) begin(session string, seq uint64, now time.Time, typ string, prev *[32]byte) {
	l.cut = false
	b := append(l.buf, `{"schema":1,"session":"`...)
	b = append(b, session...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = l.appendTime(b, now)
	b = append(b, `","type":"`...)
	b = append(b, typ...)
	b = append(b, `","prev":"`...)
	b = hex.AppendEncode(b, prev[:])
	l.buf = append(b, '"')
}

// end finishes the line, with its new line.
func (l *line) end() {
	if l.cut {
		l.buf = append(l.buf, `,"truncated":true`...)
	}
	l.buf = append(l.buf, '}', '\n')
}

// appendTime writes RFC 3339 in UTC with always nine digits, so that stamps
// sort as text. The part up to the second is kept between records.
func (l *line) appendTime(b []byte, now time.Time) []byte {
	if s := now.Unix(); s != l.second {
		l.second = s
		now.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, l.stamp[:]...)
	ns := now.Nanosecond()
	for div := 100_000_000; div > 0; div /= 10 {
		b = append(b, byte('0'+ns/div%10))
	}
	return append(b, 'Z')
}

// key starts a member. Keys are constants of this package.
func (l *line) key(k string) {
	l.buf = append(l.buf, ',', '"')
	l.buf = append(l.buf, k...)
	l.buf = append(l.buf, '"', ':')
}

// str adds a member, or nothing when s is empty.
func (l *line) str(k, s string, limit int) {
	if s == "" {
		return
	}
	l.key(k)
	l.quoted(s, limit)
}

// quoted adds a JSON string of at most limit bytes of s. What is cut off is
// marked in the string for a person ("…+12" bytes) and in the record for a
// program ("truncated"), because a tool can write the former itself.
func (l *line) quoted(s string, limit int) {
	rest := 0
	if len(s) > limit {
		n := limit
		for n > limit-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		rest, s = len(s)-n, s[:n]
	}
	b := append(l.buf, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != 0x7f && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if text.Plain(r) {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		b = appendRune(b, r) // invalid UTF-8 decodes to U+FFFD and stays that
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	if rest > 0 {
		l.cut = true
		b = append(b, "…+"...)
		b = strconv.AppendInt(b, int64(rest), 10)
	}
	l.buf = append(b, '"')
}

// appendRune writes r as one or, above the basic plane, two \u escapes.
func appendRune(b []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		b = appendRune(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

func (l *line) uint(k string, n uint64) {
	l.key(k)
	l.buf = strconv.AppendUint(l.buf, n, 10)
}

// count adds a member unless it is zero.
func (l *line) count(k string, n uint64) {
	if n != 0 {
		l.uint(k, n)
	}
}

func (l *line) int(k string, n int) {
	l.key(k)
	l.buf = strconv.AppendInt(l.buf, int64(n), 10)
}

func (l *line) optInt(k string, n int) {
	if n != 0 {
		l.int(k, n)
	}
}

// device adds a device number as mountinfo(5) has it: major:minor.
func (l *line) device(k string, dev uint64) {
	l.key(k)
	b := append(l.buf, '"')
	b = strconv.AppendUint(b, dev>>8&0xfff|dev>>32&^0xfff, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, dev&0xff|dev>>12&0xffffff00, 10)
	l.buf = append(b, '"')
}

func (l *line) duration(k string, d time.Duration) {
	l.key(k)
	l.buf = strconv.AppendInt(l.buf, max(d.Microseconds(), 0), 10)
}

func (l *line) addr(k string, a netip.Addr) {
	if a.IsValid() {
		l.key(k)
		l.buf = append(l.buf, '"')
		l.buf = a.WithZone("").AppendTo(l.buf) // a zone is free text
		l.buf = append(l.buf, '"')
	}
}

func (l *line) addrPort(k string, a netip.AddrPort) {
	if a.IsValid() {
		l.key(k)
		l.buf = append(l.buf, '"')
		l.buf = netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()).AppendTo(l.buf)
		l.buf = append(l.buf, '"')
	}
}

// list adds a list of strings, bounded in number and in sum.
func (l *line) list(k string, items []string) {
	if len(items) == 0 {
		return
	}
	l.key(k)
	l.buf = append(l.buf, '[')
	total := 0
	for i, s := range items {
		if i == maxItems || total >= maxList {
			l.cut = true
			break
		}
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.quoted(s, maxItem)
		total += min(len(s), maxItem)
	}
	l.buf = append(l.buf, ']')
}

// queryKeys adds the names of the parameters of a raw query, never a value. A
// part without a value may itself be one (a token, base64 with its padding), so
// only short words are shown of these.
func (l *line) queryKeys(raw string) {
	if raw == "" {
		return
	}
	l.key("query_keys")
	l.buf = append(l.buf, '[')
	for n := 0; raw != ""; n++ {
		if n == maxKeys {
			l.cut = true
			break
		}
		end, eq := 0, -1
		for end < len(raw) && raw[end] != '&' && raw[end] != ';' {
			if raw[end] == '=' && eq < 0 {
				eq = end
			}
			end++
		}
		name := raw[:end]
		if eq >= 0 {
			name = raw[:eq]
		}
		if strings.Trim(raw[len(name):end], "=") == "" && !isWord(name) {
			name = "*"
		}
		if n > 0 {
			l.buf = append(l.buf, ',')
		}
		l.quoted(name, maxKey)
		raw = raw[min(end+1, len(raw)):]
	}
	l.buf = append(l.buf, ']')
}

// isWord reports whether s looks like the name of a switch and not like a token.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(s) <= maxAlone
}
