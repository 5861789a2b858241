package cel

import (
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// parser reads an expression by CEL's grammar and makes values of it at once: a
// type is known when its parts are.
type parser struct {
	lexer
	tok   token
	depth int
	vars  []variableOf
	on    []hooks.Point // when the expression is asked
}

// variableOf is a name that all() or exists() gives to a list's element.
type variableOf struct {
	name string
	typ  typ
}

// advance reads the next token.
func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) unexpected(want string) error {
	return p.fail(p.tok.pos, "there is "+show(p.tok)+" where "+want+" should be", "")
}

// show names a token for a person.
func show(t token) string {
	if t.kind == end {
		return t.text
	}
	return strconv.QuoteToASCII(t.text)
}

// is says whether the next token is a sign.
func (p *parser) is(signs ...string) bool {
	return p.tok.kind == sign && slices.Contains(signs, p.tok.text)
}

// take reads a sign that must be there.
func (p *parser) take(text string) error {
	if !p.is(text) {
		return p.unexpected(text)
	}
	return p.advance()
}

// deeper bounds how far brackets nest.
func (p *parser) deeper() (leave func(), err error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(p.tok.pos, "the expression nests too deeply", "write several rules")
	}
	return func() { p.depth-- }, nil
}

// expression is: or ["?" or ":" expression].
func (p *parser) expression() (value, error) {
	leave, err := p.deeper()
	if err != nil {
		return value{}, err
	}
	defer leave()
	cond, err := p.or()
	if err != nil || !p.is("?") {
		return cond, err
	}
	if cond.typ != tBool {
		return value{}, p.mismatch(cond.pos, "?", cond)
	}
	var a, b value
	if err = p.advance(); err == nil {
		a, err = p.or()
	}
	if err == nil {
		err = p.take(":")
	}
	if err == nil {
		b, err = p.expression()
	}
	if err != nil {
		return value{}, err
	}
	if a.typ != b.typ || a.typ > tString {
		return value{}, p.mismatch(a.pos, "?:", a, b)
	}
	return choose(cond, a, b), nil
}

func choose(cond, a, b value) value {
	return value{typ: a.typ, pos: cond.pos, words: slices.Concat(a.words, b.words),
		b: pickOf(cond.b, a.b, b.b), i: pickOf(cond.b, a.i, b.i), s: pickOf(cond.b, a.s, b.s)}
}

func pickOf[T any](cond func(*run) (bool, error), a, b func(*run) (T, error)) func(*run) (T, error) {
	return func(x *run) (zero T, err error) {
		ok, err := cond(x)
		switch {
		case err != nil:
			return zero, err
		case ok:
			return a(x)
		}
		return b(x)
	}
}

// mismatch says that an operator is not there for such types.
func (p *parser) mismatch(pos int, op string, args ...value) error {
	types := make([]string, len(args))
	for i, a := range args {
		types[i] = a.typ.String()
	}
	hint := `compare values of one type, for example request.port == 443 or request.method == "GET"`
	return p.fail(pos, op+" is not there for "+strings.Join(types, " and "), hint)
}

func (p *parser) or() (value, error)  { return p.logic("||", p.and) }
func (p *parser) and() (value, error) { return p.logic("&&", p.relation) }

// logic is: part {op part}.
func (p *parser) logic(op string, part func() (value, error)) (value, error) {
	v, err := part()
	for err == nil && p.is(op) {
		at := p.tok.pos
		var w value
		if err = p.advance(); err == nil {
			w, err = part()
		}
		if err != nil {
			break
		}
		if v.typ != tBool || w.typ != tBool {
			return v, p.mismatch(at, op, v, w)
		}
		v = value{typ: tBool, pos: v.pos, b: either(op == "&&", v.b, w.b)}
	}
	return v, err
}

// relation is: sum {("<" | "==" | "in" | …) sum}.
func (p *parser) relation() (value, error) {
	v, err := p.sum()
	for err == nil {
		op, at := p.tok.text, p.tok.pos
		in := p.tok.kind == word && op == "in"
		if !in && !p.is("<", "<=", ">", ">=", "==", "!=") {
			break
		}
		var w value
		if err = p.advance(); err == nil {
			w, err = p.sum()
		}
		if err != nil {
			break
		}
		b := value{typ: tBool, pos: v.pos}
		switch {
		case in && v.typ == tString && w.typ == tHeaders:
			b.b = lookup(w, v, at).has
		case in && (w.typ == tStrings || w.typ == tInts) && v.typ == w.typ.element():
			b.b = among(v, w.list)
		case !in && v.typ == w.typ && v.typ <= tString:
			b.b = ordered(op, comparison(v, w))
		default:
			return v, p.mismatch(at, op, v, w)
		}
		v = b
	}
	return v, err
}

func (p *parser) sum() (value, error)     { return p.binary(p.product, "+", "-") }
func (p *parser) product() (value, error) { return p.binary(p.unary, "*", "/", "%") }

// binary is: part {op part} over numbers, and + over texts.
func (p *parser) binary(part func() (value, error), ops ...string) (value, error) {
	v, err := part()
	for err == nil && p.is(ops...) {
		op, at := p.tok.text, p.tok.pos
		var w value
		if err = p.advance(); err == nil {
			w, err = part()
		}
		if err != nil {
			break
		}
		switch {
		case v.typ == tInt && w.typ == tInt:
			v = value{typ: tInt, pos: v.pos, i: arithmetic(op, v, w)}
		case op == "+" && v.typ == tString && w.typ == tString:
			a, b := v.s, w.s
			v = value{typ: tString, pos: v.pos, words: v.words, s: func(x *run) (string, error) {
				l, r, err := two(x, a, b)
				if err == nil {
					err = x.pay(len(l) + len(r))
				}
				if err != nil {
					return "", err
				}
				return l + r, nil
			}}
		default:
			return v, p.mismatch(at, op, v, w)
		}
	}
	return v, err
}

// unary is: {"!"} member | {"-"} member.
func (p *parser) unary() (value, error) {
	op, at, n := p.tok.text, p.tok.pos, 0
	if p.is("!", "-") {
		for ; p.is(op); n++ {
			if err := p.advance(); err != nil {
				return value{}, err
			}
		}
	}
	if n == 1 && op == "-" && p.tok.kind == number {
		p.tok.text = "-" + p.tok.text // so that the least number can be written
		n = 0
	}
	v, err := p.member()
	if err != nil || n == 0 {
		return v, err
	}
	switch {
	case op == "!" && v.typ == tBool:
		not := v.b
		v = value{typ: tBool, pos: at, b: func(x *run) (bool, error) {
			b, err := not(x)
			return b != (n%2 == 1) && err == nil, err
		}}
	case op == "-" && v.typ == tInt:
		for range n {
			zero := value{i: func(*run) (int64, error) { return 0, nil }}
			v = value{typ: tInt, pos: at, i: arithmetic("-", zero, v)}
		}
	default:
		return v, p.mismatch(at, op, v)
	}
	return v, nil
}
