package pac

type switchCase struct {
	is   expr // nil: default
	from int  // of the list
}

func (p *parser) choice() stmt {
	p.advance()
	on := p.condition()
	p.expect("{")
	p.breaks++
	defer func() { p.breaks-- }()
	var cases []switchCase
	var list []stmt
	for !p.accept("}") {
		switch {
		case p.accept("case"):
			v := p.expression()
			p.expect(":")
			cases = append(cases, switchCase{v, len(list)})
		case p.accept("default"):
			p.expect(":")
			cases = append(cases, switchCase{nil, len(list)})
		case len(cases) == 0:
			p.unexpected()
		default:
			list = append(list, p.statement())
		}
	}
	return scoped(func(f *frame) outcome {
		v, from := on(f), len(list)
		found := false
		for _, c := range cases {
			f.m.step(1)
			if c.is != nil && !found && same(v, c.is(f)) {
				from, found = c.from, true
			}
		}
		for _, c := range cases {
			if c.is == nil && !found {
				from = c.from
			}
		}
		for _, s := range list[from:] {
			if o := s(f); o == breaks {
				return goesOn
			} else if o != goesOn {
				return o
			}
		}
		return goesOn
	})
}

func (p *parser) try() stmt {
	p.advance()
	p.expect("{")
	s := p.block()
	var caught, finally stmt
	name := ""
	if p.accept("catch") {
		if p.accept("(") {
			name = p.name()
			p.expect(")")
		}
		p.expect("{")
		caught = p.block()
	}
	if p.accept("finally") {
		p.expect("{")
		finally = p.block()
	}
	if caught == nil && finally == nil {
		p.unexpected()
	}
	return func(f *frame) outcome {
		o := attempt(f, s, caught, name, finally)
		if finally != nil {
			ret := f.ret
			if last := finally(f); last != goesOn {
				return last
			}
			f.ret = ret
		}
		return o
	}
}

// attempt runs what is tried, and what catches. finally is run by the caller, but for
// what leaves by a panic.
func attempt(f *frame, s, caught stmt, name string, finally stmt) (o outcome) {
	outer, depth := f.scope, f.m.depth
	defer func() {
		e := recover()
		if e == nil {
			return
		}
		t, ok := e.(thrown)
		if !ok {
			panic(e) // the end of all steps, which nothing holds up
		}
		f.scope, f.m.depth = outer, depth
		if caught == nil {
			if finally(f) == goesOn {
				panic(e)
			}
			o = returns
			return
		}
		f.scope = f.inner()
		defer func() { f.scope = outer }()
		if name != "" {
			*f.scope.declare(f.m, name) = t.v
		}
		o = caught(f)
	}()
	return s(f)
}

// function is what follows its name.
func (p *parser) function() expr {
	defer p.deeper()()
	p.expect("(")
	var params []string
	for !p.accept(")") {
		params = append(params, p.name())
		if !p.tok.is(")") {
			p.expect(",")
		}
	}
	outer := *p
	p.body, p.loops, p.breaks, p.inFunc = &body{}, 0, 0, true
	p.expect("{")
	for !p.accept("}") {
		p.body.list = append(p.body.list, p.statement())
	}
	b := p.body
	p.body, p.loops, p.breaks, p.inFunc = outer.body, outer.loops, outer.breaks, outer.inFunc
	return func(f *frame) value {
		closure := f.scope
		fn := f.m.function(func(m *machine, this value, args []value) value {
			m.take(128)
			g := &frame{m: m, scope: &scope{vars: make(map[string]*value, len(params)), up: closure}, this: this}
			for i, name := range params {
				to := g.scope.declare(m, name)
				if i < len(args) {
					*to = args[i]
				}
			}
			b.enter(g)
			b.run(g)
			return g.ret
		})
		fn.make = func(m *machine, args []value) value {
			this := m.object("Object")
			if v, ok := m.invoke(fn, this, args).(*object); ok {
				return v
			}
			return this
		}
		return fn
	}
}

// invoke calls what should be a function.
func (m *machine) invoke(fn, this value, args []value) value {
	m.step(3)
	o, ok := fn.(*object)
	if !ok || o.call == nil {
		m.mistake("what is called is not a function")
	}
	if m.depth++; m.depth > maxDepth {
		panic(overrun{"it calls functions within each other too deep"})
	}
	defer func() { m.depth-- }()
	return o.call(m, this, args)
}
