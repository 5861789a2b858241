package cel

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
)

// kind is what a token is.
type kind uint8

const (
	end kind = iota
	word
	number
	quoted
	sign // an operator or a bracket, in text
)

type token struct {
	kind kind
	text string // of a quoted one its value
	pos  int    // offset in the expression
}

// lexer cuts an expression into tokens.
type lexer struct {
	src string
	pos int
}

// fail says what is wrong at an offset.
func fail(src string, pos int, message, hint string) *hooks.ConditionError {
	pos = min(pos, len(src))
	line := strings.Count(src[:pos], "\n")
	column := utf8.RuneCountInString(src[strings.LastIndexByte(src[:pos], '\n')+1 : pos])
	return &hooks.ConditionError{Line: line + 1, Column: column + 1, Message: message, Hint: hint}
}

func (l *lexer) fail(pos int, message, hint string) error { return fail(l.src, pos, message, hint) }

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

// next returns the next token.
func (l *lexer) next() (token, error) {
	l.space()
	at := l.pos
	if at == len(l.src) {
		return token{end, "the end", at}, nil
	}
	rest := l.src[at:]
	if n := quoteLen(rest); n >= 0 {
		s, err := l.quoted(n)
		return token{quoted, s, at}, err
	}
	switch c := rest[0]; {
	case letter(c):
		for l.pos < len(l.src) && (letter(l.src[l.pos]) || digit(l.src[l.pos])) {
			l.pos++
		}
		return token{word, l.src[at:l.pos], at}, nil
	case digit(c):
		for l.pos < len(l.src) && (letter(l.src[l.pos]) || digit(l.src[l.pos])) {
			l.pos++
		}
		if l.pos+1 < len(l.src) && l.src[l.pos] == '.' && digit(l.src[l.pos+1]) {
			return token{}, l.fail(at, "there are only whole numbers here", "request.size is in bytes")
		}
		return token{number, l.src[at:l.pos], at}, nil
	}
	for _, s := range []string{"&&", "||", "==", "!=", "<=", ">="} {
		if strings.HasPrefix(rest, s) {
			l.pos += 2
			return token{sign, s, at}, nil
		}
	}
	if strings.IndexByte("<>!?:+-*/%()[],.", rest[0]) >= 0 {
		l.pos++
		return token{sign, rest[:1], at}, nil
	}
	hint := ""
	switch rest[0] {
	case '=':
		hint = "write =="
	case '&', '|':
		hint = "write && or ||"
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return token{}, l.fail(at, "the character "+strconv.QuoteRuneToASCII(r)+" means nothing here", hint)
}

// space skips blanks and comments.
func (l *lexer) space() {
	for l.pos < len(l.src) {
		switch rest := l.src[l.pos:]; {
		case strings.IndexByte(" \t\r\n\f", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.pos += n
		default:
			return
		}
	}
}

// quoteLen returns the length of the prefix (r) before a quotation mark, -1 if no
// text in quotes begins here.
func quoteLen(s string) int {
	n := 0
	if s[0] == 'r' || s[0] == 'R' {
		n = 1
	}
	if n < len(s) && (s[n] == '"' || s[n] == '\'') {
		return n
	}
	return -1
}

// quoted reads a text in quotes.
func (l *lexer) quoted(prefix int) (string, error) {
	at := l.pos
	mark := l.src[at+prefix : at+prefix+1]
	if long := strings.Repeat(mark, 3); strings.HasPrefix(l.src[at+prefix:], long) {
		mark = long
	}
	l.pos += prefix + len(mark)
	var b strings.Builder
	for {
		rest := l.src[l.pos:]
		switch {
		case rest == "" || len(mark) == 1 && (rest[0] == '\n' || rest[0] == '\r'):
			return "", l.fail(at, "the text in quotes does not end", "")
		case strings.HasPrefix(rest, mark):
			l.pos += len(mark)
			return b.String(), nil
		case rest[0] == '\\' && prefix == 0:
			r, n, ok := unescape(rest)
			if !ok {
				return "", l.fail(l.pos, "the escape in the text is not known", `write \\ for a backslash, or r"…" for a text without escapes`)
			}
			b.WriteRune(r)
			l.pos += n
		case rest[0] == '\r': // CEL reads a line's end as \n
			b.WriteByte('\n')
			l.pos++
			if len(rest) > 1 && rest[1] == '\n' {
				l.pos++
			}
		default:
			b.WriteByte(rest[0])
			l.pos++
		}
	}
}

// unescape reads one escape sequence, which s begins with.
func unescape(s string) (r rune, n int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if i := strings.IndexByte(`abfnrtv\'"`+"`?", s[1]); i >= 0 {
		return rune("\a\b\f\n\r\t\v\\'\"`?"[i]), 2, true
	}
	digits, base := 0, 16
	switch s[1] {
	case 'x', 'X':
		digits, n = 2, 2
	case 'u':
		digits, n = 4, 2
	case 'U':
		digits, n = 8, 2
	case '0', '1', '2', '3':
		digits, n, base = 3, 1, 8
	default:
		return 0, 0, false
	}
	if len(s) < n+digits {
		return 0, 0, false
	}
	v, err := strconv.ParseUint(s[n:n+digits], base, 32)
	if err != nil || !utf8.ValidRune(rune(v)) {
		return 0, 0, false
	}
	return rune(v), n + digits, true
}
