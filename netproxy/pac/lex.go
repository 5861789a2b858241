package pac

import (
	"fmt"
	"strconv"
	"strings"
)

// Error says what is wrong with a file, or what it did. It quotes nothing but
// names that the file has.
type Error struct {
	Line int // 0: it is not known
	What string
}

// Error returns one line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.What
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

type kind uint8

const (
	tEnd kind = iota
	tNumber
	tString
	tName
	tPunct
)

type token struct {
	kind  kind
	text  string // of a name or sign, or a string's value
	num   float64
	line  int
	pos   int
	first bool // there is a line break before it
}

// is says whether it is this sign or word.
func (t *token) is(s string) bool { return (t.kind == tPunct || t.kind == tName) && t.text == s }

type lexer struct {
	src  string
	pos  int
	line int
}

func (l *lexer) fail(format string, args ...any) {
	panic(&Error{Line: l.line, What: fmt.Sprintf(format, args...)})
}

// signs are tried from the longest on.
func signs() [4][]string {
	return [4][]string{
		{">>>="},
		{"===", "!==", ">>>", "<<=", ">>=", "..."},
		{"==", "!=", "<=", ">=", "&&", "||", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<", ">>", "=>"},
		{"{", "}", "(", ")", "[", "]", ";", ",", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "!", "~", "?", ":", "=", "."},
	}
}

func (l *lexer) next() token {
	first := l.blank()
	t := token{line: l.line, pos: l.pos, first: first}
	if l.pos >= len(l.src) {
		return t
	}
	c := l.src[l.pos]
	switch {
	case isWord(c) && !isDigit(c):
		for l.pos < len(l.src) && isWord(l.src[l.pos]) {
			l.pos++
		}
		t.kind, t.text = tName, l.src[t.pos:l.pos]
		return t
	case isDigit(c) || c == '.' && l.pos+1 < len(l.src) && isDigit(l.src[l.pos+1]):
		t.kind, t.num = tNumber, l.number()
		return t
	case c == '"' || c == '\'':
		t.kind, t.text = tString, l.quoted(c)
		return t
	}
	for i, list := range signs() {
		for _, s := range list {
			if len(s) == 4-i && strings.HasPrefix(l.src[l.pos:], s) {
				l.pos += len(s)
				t.kind, t.text = tPunct, s
				return t
			}
		}
	}
	if c >= 0x80 {
		l.fail("it has a character that is not ASCII outside of a comment")
	}
	l.fail("it has the character %q, which begins nothing that is known", c)
	return t
}

// blank passes over spaces and comments.
func (l *lexer) blank() (first bool) {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == '\n':
			l.line++
			l.pos++
			first = true
		case c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f':
			l.pos++
		case strings.HasPrefix(l.src[l.pos:], "\ufeff"):
			l.pos += len("\ufeff")
		case strings.HasPrefix(l.src[l.pos:], "//"), strings.HasPrefix(l.src[l.pos:], "<!--"):
			if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
				l.pos += i
			} else {
				l.pos = len(l.src)
			}
		case strings.HasPrefix(l.src[l.pos:], "/*"):
			i := strings.Index(l.src[l.pos+2:], "*/")
			if i < 0 {
				l.fail("a comment has no end")
			}
			n := strings.Count(l.src[l.pos:l.pos+2+i], "\n")
			l.line += n
			first = first || n > 0
			l.pos += 2 + i + 2
		default:
			return first
		}
	}
	return first
}

func (l *lexer) number() float64 {
	from := l.pos
	for l.pos < len(l.src) && (isWord(l.src[l.pos]) || l.src[l.pos] == '.' ||
		(l.src[l.pos] == '-' || l.src[l.pos] == '+') && (l.src[l.pos-1] == 'e' || l.src[l.pos-1] == 'E') && !strings.HasPrefix(l.src[from:], "0x")) {
		l.pos++
	}
	s := l.src[from:l.pos]
	if len(s) > 1 && s[0] == '0' && isDigit(s[1]) || strings.ContainsAny(s, "_pP") {
		l.fail("number %.20q has a form that is not known", s)
	}
	if h, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		if v, err := strconv.ParseUint(h, 16, 52); err == nil {
			return float64(v)
		}
	} else if v, err := strconv.ParseFloat(s, 64); err == nil {
		return v
	}
	l.fail("%.20q is not a number", s)
	return 0
}

func (l *lexer) quoted(end byte) string {
	var b strings.Builder
	for l.pos++; ; l.pos++ {
		if l.pos >= len(l.src) || l.src[l.pos] == '\n' {
			l.fail("a text has no end")
		}
		c := l.src[l.pos]
		switch {
		case c == end:
			l.pos++
			return b.String()
		case c >= 0x80:
			l.fail("a text has a character that is not ASCII")
		case c != '\\':
			b.WriteByte(c)
		default:
			if l.pos++; l.pos >= len(l.src) {
				l.fail("a text has no end")
			}
			b.WriteString(l.escape(l.src[l.pos]))
		}
	}
}

// escape is what follows a backslash, of which pos is the first character, and is
// left at the last.
func (l *lexer) escape(c byte) string {
	digits := map[byte]int{'x': 2, 'u': 4}[c]
	switch {
	case digits > 0:
		if l.pos+digits >= len(l.src) {
			l.fail("a text has no end")
		}
		v, err := strconv.ParseUint(l.src[l.pos+1:l.pos+1+digits], 16, 16)
		if err != nil || v >= 0x80 {
			l.fail("a text has a character that is not ASCII")
		}
		l.pos += digits
		return string(rune(v))
	case c == '\n':
		l.line++
		return ""
	case c == '\r' && strings.HasPrefix(l.src[l.pos:], "\r\n"):
		l.pos++
		l.line++
		return ""
	case isDigit(c) && (c != '0' || l.pos+1 < len(l.src) && isDigit(l.src[l.pos+1])):
		l.fail("a text has an octal escape")
	}
	if i := strings.IndexByte("nrtbfv0", c); i >= 0 {
		return "\n\r\t\b\f\v\x00"[i : i+1]
	}
	return string(rune(c))
}

// regexp reads a literal from its first slash on.
func (l *lexer) regexp(from int) (pattern, flags string) {
	l.pos = from + 1
	for class := false; ; l.pos++ {
		if l.pos >= len(l.src) || l.src[l.pos] == '\n' || l.src[l.pos] >= 0x80 {
			l.fail("a regular expression has no end, or a character that is not ASCII")
		}
		switch c := l.src[l.pos]; {
		case c == '\\':
			l.pos++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class:
			pattern = l.src[from+1 : l.pos]
			for l.pos++; l.pos < len(l.src) && isWord(l.src[l.pos]); l.pos++ {
				flags += l.src[l.pos : l.pos+1]
			}
			return pattern, flags
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}
