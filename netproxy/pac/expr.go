package pac

import (
	"math"
	"slices"
	"strings"
)

func (p *parser) expression() expr {
	v := p.assignment()
	for n := 0; p.accept(","); n++ {
		p.chain(n)
		first, second := v, p.assignment()
		v = func(f *frame) value {
			first(f)
			return second(f)
		}
	}
	return v
}

// place is what can be assigned to: a variable, or a property.
type place struct {
	name string
	of   expr
	key  expr
}

func (a *place) read(f *frame) value {
	if a.of != nil {
		return f.m.get(a.of(f), a.key(f))
	}
	return lookUp(f, a.name)
}

func lookUp(f *frame, name string) value {
	if v := f.scope.find(name); v != nil {
		return *v
	}
	panic(thrown{"ReferenceError: " + clip(name) + " is not defined, or not known here"})
}

// change gives it the value that with makes of the old one, which is not read if old is false.
func (a *place) change(f *frame, old bool, with func(value) (is, result value)) value {
	if a.of != nil {
		o, k := a.of(f), a.key(f)
		var was value
		if old {
			was = f.m.get(o, k)
		}
		is, result := with(was)
		f.m.set(o, k, is)
		return result
	}
	var was value
	if old {
		was = lookUp(f, a.name)
	}
	is, result := with(was)
	v := f.scope.find(a.name)
	if v == nil {
		v = f.m.global.declare(f.m, a.name)
	}
	*v = is
	return result
}

// operand is an expression, and the place that it is if it is one.
type operand struct {
	expr
	place *place
}

func (p *parser) assignment() expr {
	defer p.deeper()()
	left := p.conditional()
	if p.tok.kind != tPunct || !slices.Contains([]string{"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", ">>>="}, p.tok.text) {
		return left.expr
	}
	if left.place == nil {
		p.fail("what stands before " + p.tok.text + " can't be assigned to")
	}
	sign := strings.TrimSuffix(p.tok.text, "=")
	p.advance()
	right := p.assignment()
	return func(f *frame) value {
		return left.place.change(f, sign != "", func(was value) (value, value) {
			v := right(f)
			if sign != "" {
				v = operate(f.m, sign, was, v)
			}
			return v, v
		})
	}
}

func (p *parser) conditional() operand {
	cond := p.binary(0)
	if !p.accept("?") {
		return cond
	}
	yes := p.assignment()
	p.expect(":")
	no := p.assignment()
	return operand{expr: func(f *frame) value {
		if truth(cond.expr(f)) {
			return yes(f)
		}
		return no(f)
	}}
}

// chain bounds operators in a row, as each is evaluated within the one behind it.
func (p *parser) chain(n int) {
	if n > maxChain {
		p.fail("an expression is too long")
	}
}

// levels are the binary operators, from those that bind least on.
func levels() [][]string {
	return [][]string{
		{"||"}, {"&&"}, {"|"}, {"^"}, {"&"}, {"==", "!=", "===", "!=="}, {"<", ">", "<=", ">=", "in", "instanceof"}, {"<<", ">>", ">>>"}, {"+", "-"}, {"*", "/", "%"},
	}
}

func (p *parser) binary(level int) operand {
	all := levels()
	if level == len(all) {
		return p.unary()
	}
	left := p.binary(level + 1)
	for n := 0; p.tok.kind != tString && p.tok.kind != tNumber && slices.Contains(all[level], p.tok.text); n++ {
		p.chain(n)
		sign := p.tok.text
		if sign == "instanceof" {
			p.unexpected()
		}
		p.advance()
		a, b := left.expr, p.binary(level+1).expr
		var v expr
		switch sign {
		case "||":
			v = func(f *frame) value {
				if x := a(f); truth(x) {
					return x
				}
				return b(f)
			}
		case "&&":
			v = func(f *frame) value {
				if x := a(f); !truth(x) {
					return x
				}
				return b(f)
			}
		default:
			v = func(f *frame) value { return operate(f.m, sign, a(f), b(f)) }
		}
		left = operand{expr: v}
	}
	return left
}

func operate(m *machine, sign string, a, b value) value {
	m.step(1)
	switch sign {
	case "+":
		x, isX := a.(*object)
		y, isY := b.(*object)
		if isX {
			a = toText(m, x)
		}
		if isY {
			b = toText(m, y)
		}
		_, isS := a.(string)
		_, isT := b.(string)
		if isS || isT {
			s, t := toText(m, a), toText(m, b)
			m.step((len(s) + len(t)) / 16)
			m.take(16 + len(s) + len(t))
			return s + t
		}
		return toNumber(m, a) + toNumber(m, b)
	case "-":
		return toNumber(m, a) - toNumber(m, b)
	case "*":
		return toNumber(m, a) * toNumber(m, b)
	case "/":
		return toNumber(m, a) / toNumber(m, b)
	case "%":
		return math.Mod(toNumber(m, a), toNumber(m, b))
	case "&":
		return float64(toInt(m, a) & toInt(m, b))
	case "|":
		return float64(toInt(m, a) | toInt(m, b))
	case "^":
		return float64(toInt(m, a) ^ toInt(m, b))
	case "<<":
		return float64(toInt(m, a) << (uint32(toInt(m, b)) & 31))
	case ">>":
		return float64(toInt(m, a) >> (uint32(toInt(m, b)) & 31))
	case ">>>":
		return float64(uint32(toInt(m, a)) >> (uint32(toInt(m, b)) & 31))
	case "==":
		return equal(m, a, b)
	case "!=":
		return !equal(m, a, b)
	case "===":
		return same(a, b)
	case "!==":
		return !same(a, b)
	case "<":
		return compare(m, a, b, false)
	case ">":
		return compare(m, b, a, false)
	case "<=":
		return compare(m, a, b, true)
	case ">=":
		return compare(m, b, a, true)
	case "in":
		o, ok := b.(*object)
		if !ok {
			m.mistake("what stands behind in is no object")
		}
		i := index(m, a)
		_, has := o.props[toText(m, a)]
		return has || i >= 0 && i < len(o.elems)
	}
	m.mistake("operator " + sign)
	return nil
}

func (p *parser) unary() operand {
	defer p.deeper()()
	if p.tok.kind == tPunct || p.tok.kind == tName {
		sign := p.tok.text
		switch sign {
		case "!", "-", "+", "~", "typeof", "void":
			p.advance()
			v := p.unary()
			return operand{expr: func(f *frame) value {
				f.m.step(1)
				if sign == "typeof" && v.place != nil && v.place.of == nil && f.scope.find(v.place.name) == nil {
					return "undefined"
				}
				x := v.expr(f)
				switch sign {
				case "!":
					return !truth(x)
				case "-":
					return -toNumber(f.m, x)
				case "+":
					return toNumber(f.m, x)
				case "~":
					return float64(^toInt(f.m, x))
				case "typeof":
					return typeOf(x)
				}
				return nil
			}}
		case "++", "--":
			p.advance()
			return p.counted(p.unary(), sign, true)
		}
	}
	v := p.call()
	if p.tok.kind == tPunct && (p.tok.text == "++" || p.tok.text == "--") && !p.tok.first {
		sign := p.tok.text
		p.advance()
		return p.counted(v, sign, false)
	}
	return v
}

func (p *parser) counted(v operand, sign string, before bool) operand {
	if v.place == nil {
		p.fail(sign + " is of what can't be assigned to")
	}
	by := 1.0
	if sign == "--" {
		by = -1
	}
	return operand{expr: func(f *frame) value {
		return v.place.change(f, true, func(was value) (value, value) {
			n := toNumber(f.m, was)
			if before {
				return n + by, n + by
			}
			return n + by, n
		})
	}}
}
