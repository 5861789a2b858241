package pac

func (p *parser) condition() expr {
	p.expect("(")
	v := p.expression()
	p.expect(")")
	return v
}

// branch is a chain of if and else if, which companies' files have hundreds of.
func (p *parser) branch() stmt {
	var conds []expr
	var then []stmt
	var last stmt
	for last == nil && p.accept("if") {
		conds = append(conds, p.condition())
		then = append(then, p.statement())
		if !p.accept("else") {
			last = func(*frame) outcome { return goesOn }
		} else if !p.tok.is("if") {
			last = p.statement()
		}
	}
	return func(f *frame) outcome {
		for i, cond := range conds {
			f.m.step(1)
			if truth(cond(f)) {
				return then[i](f)
			}
		}
		return last(f)
	}
}

func (p *parser) inLoop() stmt {
	p.loops++
	p.breaks++
	s := p.statement()
	p.loops--
	p.breaks--
	return s
}

func whileLoop(cond expr, s stmt, after expr) stmt {
	return func(f *frame) outcome {
		for cond == nil || truth(cond(f)) {
			f.m.step(1)
			if o := s(f); o == breaks {
				break
			} else if o == returns {
				return o
			}
			if after != nil {
				after(f)
			}
		}
		return goesOn
	}
}

func doLoop(cond expr, s stmt) stmt {
	return func(f *frame) outcome {
		for {
			f.m.step(1)
			if o := s(f); o == breaks {
				return goesOn
			} else if o == returns {
				return o
			}
			if !truth(cond(f)) {
				return goesOn
			}
		}
	}
}

func (p *parser) loop() stmt {
	p.advance()
	p.expect("(")
	var first stmt
	name := ""
	switch {
	case p.tok.is(";"):
	case p.tok.is("var") || p.tok.is("let") || p.tok.is("const"):
		word, at := p.tok.text, p.lex
		tok := p.tok
		p.advance()
		name = p.name()
		if p.accept("in") {
			if word == "var" {
				p.body.declare(name)
			}
			return p.each(word, name)
		}
		p.lex, p.tok = at, tok
		first = p.variables()
	default:
		at, tok := p.lex, p.tok
		if tok.kind == tName && !reserved(tok.text) {
			name = p.name()
			if p.accept("in") {
				return p.each("", name)
			}
			p.lex, p.tok = at, tok
		}
		v := p.expression()
		first = func(f *frame) outcome {
			v(f)
			return goesOn
		}
	}
	p.expect(";")
	var cond, after expr
	if !p.tok.is(";") {
		cond = p.expression()
	}
	p.expect(";")
	if !p.tok.is(")") {
		after = p.expression()
	}
	p.expect(")")
	run := whileLoop(cond, p.inLoop(), after)
	return scoped(func(f *frame) outcome {
		if first != nil {
			first(f)
		}
		return run(f)
	})
}

// each is for (name in object).
func (p *parser) each(word, name string) stmt {
	of := p.expression()
	p.expect(")")
	s := p.inLoop()
	return scoped(func(f *frame) outcome {
		var keys []string
		if o, ok := of(f).(*object); ok {
			f.m.step(len(o.elems) + len(o.keys))
			f.m.take(32 * (len(o.elems) + len(o.keys)))
			for i := range o.elems {
				keys = append(keys, numberText(float64(i)))
			}
			keys = append(keys, o.keys...)
		}
		var to *value
		if word != "let" && word != "const" {
			to = f.scope.find(name)
		}
		if to == nil {
			to = f.scope.declare(f.m, name)
		}
		for _, k := range keys {
			f.m.step(1)
			*to = k
			if o := s(f); o == breaks {
				break
			} else if o == returns {
				return o
			}
		}
		return goesOn
	})
}

func (p *parser) jump() stmt {
	o, within := breaks, p.breaks
	if p.tok.text == "continue" {
		o, within = continues, p.loops
	}
	if within == 0 {
		p.fail(p.tok.text + " is outside of what it would leave")
	}
	p.advance()
	p.end()
	return func(*frame) outcome { return o }
}

func (p *parser) returned() stmt {
	if !p.inFunc {
		p.fail("return is outside of a function")
	}
	p.advance()
	var v expr
	if !p.tok.is(";") && !p.tok.is("}") && !p.tok.first && p.tok.kind != tEnd {
		v = p.expression()
	}
	p.end()
	return func(f *frame) outcome {
		f.ret = nil
		if v != nil {
			f.ret = v(f)
		}
		return returns
	}
}
