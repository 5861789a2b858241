package pac

import "regexp"

func (p *parser) arguments() []expr {
	var args []expr
	for !p.accept(")") {
		args = append(args, p.assignment())
		if !p.tok.is(")") {
			p.expect(",")
		}
	}
	return args
}

func values(f *frame, list []expr) []value {
	f.m.take(16 * len(list))
	out := make([]value, len(list))
	for i, e := range list {
		out[i] = e(f)
	}
	return out
}

// call is a primary with what follows it: properties, elements and calls.
func (p *parser) call() operand {
	var v operand
	if p.tok.kind == tName && p.tok.text == "new" {
		v = p.creation()
	} else {
		v = p.primary()
	}
	for n := 0; p.tok.kind == tPunct; n++ {
		if n > maxNesting {
			p.fail("too much stands within each other")
		}
		line := p.tok.line
		switch {
		case p.accept("."):
			v = property(v.expr, p.propertyName())
		case p.accept("["):
			key := p.expression()
			p.expect("]")
			of := v.expr
			a := &place{of: of, key: key}
			v = operand{a.read, a}
		case p.accept("("):
			args, callee := p.arguments(), v
			v = operand{expr: func(f *frame) value {
				var this, fn value
				if a := callee.place; a != nil && a.of != nil {
					this = a.of(f)
					fn = f.m.get(this, a.key(f))
				} else {
					fn = callee.expr(f)
				}
				given := values(f, args)
				f.m.line = line
				return f.m.invoke(fn, this, given)
			}}
		default:
			return v
		}
	}
	return v
}

func property(of expr, name string) operand {
	a := &place{of: of, key: func(*frame) value { return name }}
	return operand{a.read, a}
}

// propertyName may be a reserved word.
func (p *parser) propertyName() string {
	if p.tok.kind != tName {
		p.unexpected()
	}
	s := p.tok.text
	p.advance()
	return s
}

func (p *parser) creation() operand {
	defer p.deeper()()
	p.advance()
	v := p.primary()
	for p.accept(".") {
		v = property(v.expr, p.propertyName())
	}
	var args []expr
	if p.accept("(") {
		args = p.arguments()
	}
	of := v.expr
	return operand{expr: func(f *frame) value {
		o, ok := of(f).(*object)
		if !ok || o.make == nil {
			f.m.mistake("new is of what makes nothing")
		}
		f.m.step(3)
		return o.make(f.m, values(f, args))
	}}
}

func constant(v value) operand { return operand{expr: func(*frame) value { return v }} }

func (p *parser) primary() operand {
	t := p.tok
	switch t.kind {
	case tNumber:
		p.advance()
		return constant(t.num)
	case tString:
		p.advance()
		return constant(t.text)
	case tName:
		switch t.text {
		case "true", "false":
			p.advance()
			return constant(t.text == "true")
		case "null":
			p.advance()
			return constant(null{})
		case "this":
			p.advance()
			return operand{expr: func(f *frame) value { return f.this }}
		case "function":
			p.advance()
			if !p.tok.is("(") {
				p.name() // which only the function itself would see
			}
			return operand{expr: p.function()}
		}
		a := &place{name: p.name()}
		return operand{a.read, a}
	case tPunct:
		switch t.text {
		case "(":
			p.advance()
			v := p.expression()
			p.expect(")")
			return operand{expr: v}
		case "[":
			return p.list()
		case "{":
			return p.literal()
		case "/", "/=":
			pattern, flags := p.lex.regexp(t.pos)
			if p.regexp += len(pattern); p.regexp > maxPatterns {
				p.fail("it has too many regular expressions")
			}
			p.advance()
			re, all, err := compilePattern(pattern, flags)
			if err != "" {
				panic(&Error{Line: t.line, What: err})
			}
			return operand{expr: func(f *frame) value {
				o := f.m.object("RegExp")
				o.re, o.all = re, all
				return o
			}}
		}
	}
	p.unexpected()
	return operand{}
}

func (p *parser) list() operand {
	p.advance()
	var elems []expr
	for !p.accept("]") {
		elems = append(elems, p.assignment())
		if !p.tok.is("]") {
			p.expect(",")
		}
	}
	return operand{expr: func(f *frame) value { return f.m.array(values(f, elems)) }}
}

func (p *parser) literal() operand {
	p.advance()
	var keys []string
	var elems []expr
	for !p.accept("}") {
		switch p.tok.kind {
		case tString:
			keys = append(keys, p.tok.text)
		case tNumber:
			keys = append(keys, numberText(p.tok.num))
		case tName:
			keys = append(keys, p.tok.text)
		default:
			p.unexpected()
		}
		p.advance()
		p.expect(":")
		elems = append(elems, p.assignment())
		if !p.tok.is("}") {
			p.expect(",")
		}
	}
	return operand{expr: func(f *frame) value {
		o := f.m.object("Object")
		for i, k := range keys {
			f.m.set(o, k, elems[i](f))
		}
		return o
	}}
}

// compilePattern makes a pattern of JavaScript one of RE2, as far as both mean the same.
func compilePattern(pattern, flags string) (re *regexp.Regexp, all bool, err string) {
	prefix := ""
	for _, c := range flags {
		switch c {
		case 'g':
			all = true
		case 'i', 'm':
			prefix += "(?" + string(c) + ")"
		default:
			return nil, false, "a regular expression has a flag that is not known"
		}
	}
	if len(pattern) > maxPattern {
		return nil, false, "a regular expression is too long"
	}
	re, e := regexp.Compile(prefix + pattern)
	if e != nil {
		return nil, false, "a regular expression is none, or looks ahead or back, which is not known here"
	}
	return re, all, ""
}
