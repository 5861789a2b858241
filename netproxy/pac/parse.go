package pac

import "slices"

// frame is one call of a function: closures of the program get it.
type frame struct {
	m     *machine
	scope *scope
	this  value
	ret   value
}

// scope holds variables of a function or a block.
type scope struct {
	vars map[string]*value
	up   *scope
}

func (s *scope) find(name string) *value {
	for ; s != nil; s = s.up {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	return nil
}

func (s *scope) declare(m *machine, name string) *value {
	if v, ok := s.vars[name]; ok {
		return v
	}
	m.take(64)
	v := new(value)
	s.vars[name] = v
	return v
}

func (f *frame) inner() *scope {
	f.m.take(64)
	return &scope{vars: map[string]*value{}, up: f.scope}
}

// outcome is how a statement ended.
type outcome uint8

const (
	goesOn outcome = iota
	breaks
	continues
	returns
)

type (
	expr func(*frame) value
	stmt func(*frame) outcome
)

// body is a function's, or the file's.
type body struct {
	vars  []string // declared by var, anywhere in it
	known map[string]bool
	funcs []declared
	list  []stmt
}

type declared struct {
	name string
	make expr
}

// declare notes a var.
func (b *body) declare(name string) {
	if b.known == nil {
		b.known = map[string]bool{}
	}
	if !b.known[name] {
		b.known[name] = true
		b.vars = append(b.vars, name)
	}
}

// enter declares what is hoisted.
func (b *body) enter(f *frame) {
	for _, name := range b.vars {
		f.scope.declare(f.m, name)
	}
	for _, d := range b.funcs {
		*f.scope.declare(f.m, d.name) = d.make(f)
	}
}

func (b *body) run(f *frame) outcome {
	for _, s := range b.list {
		if o := s(f); o != goesOn {
			return o
		}
	}
	return goesOn
}

type parser struct {
	lex    lexer
	tok    token
	body   *body
	depth  int
	loops  int // in which break and continue have a meaning
	breaks int // loops and switches
	inFunc bool
	own    bool // the block has let or const
	regexp int  // bytes of regular expressions
}

// reserved are words that are no names.
func reserved(s string) bool {
	return slices.Contains([]string{
		"break", "case", "catch", "class", "const", "continue", "debugger", "default", "delete", "do", "else", "enum", "export", "extends", "false",
		"finally", "for", "function", "if", "import", "in", "instanceof", "let", "new", "null", "return", "super", "switch", "this", "throw", "true", "try",
		"typeof", "var", "void", "while", "with", "yield", "async", "await", "of", "static", "arguments", "eval",
	}, s)
}

func (p *parser) advance() { p.tok = p.lex.next() }

func (p *parser) fail(what string) {
	panic(&Error{Line: p.tok.line, What: what})
}

func (p *parser) unexpected() {
	switch p.tok.kind {
	case tEnd:
		p.fail("it ends in the middle of something")
	case tName:
		if reserved(p.tok.text) {
			p.fail("here " + p.tok.text + " is not understood")
		}
		p.fail("the name " + clip(p.tok.text) + " is not expected here")
	case tPunct:
		p.fail(p.tok.text + " is not expected here, or not understood")
	}
	p.fail("a text or number is not expected here")
}

func clip(s string) string { return s[:min(len(s), 40)] }

func (p *parser) accept(s string) bool {
	if p.tok.kind != tString && p.tok.is(s) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expect(s string) {
	if !p.accept(s) {
		p.unexpected()
	}
}

func (p *parser) name() string {
	if p.tok.kind != tName || reserved(p.tok.text) {
		p.unexpected()
	}
	s := p.tok.text
	p.advance()
	return s
}

// end is that of a statement (ECMA-262, "Automatic Semicolon Insertion").
func (p *parser) end() {
	if p.accept(";") || p.tok.first || p.tok.kind == tEnd || p.tok.is("}") {
		return
	}
	p.unexpected()
}

// deeper bounds what stands within each other.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("too much stands within each other")
	}
	return func() { p.depth-- }
}

func (p *parser) statement() stmt {
	defer p.deeper()()
	line := p.tok.line
	s := p.plain()
	return func(f *frame) outcome {
		f.m.step(1)
		f.m.line = line
		return s(f)
	}
}

func (p *parser) plain() stmt {
	if p.tok.kind == tName {
		switch p.tok.text {
		case "var", "let", "const":
			s := p.variables()
			p.end()
			return s
		case "function":
			p.advance()
			name := p.name()
			p.body.funcs = append(p.body.funcs, declared{name, p.function()})
			return func(*frame) outcome { return goesOn }
		case "if":
			return p.branch()
		case "for":
			return p.loop()
		case "while":
			p.advance()
			cond := p.condition()
			return whileLoop(cond, p.inLoop(), nil)
		case "do":
			p.advance()
			s := p.inLoop()
			p.expect("while")
			cond := p.condition()
			p.accept(";")
			return doLoop(cond, s)
		case "switch":
			return p.choice()
		case "try":
			return p.try()
		case "break", "continue":
			return p.jump()
		case "return":
			return p.returned()
		case "throw":
			p.advance()
			v := p.expression()
			p.end()
			return func(f *frame) outcome { panic(thrown{v(f)}) }
		}
	}
	switch {
	case p.accept("{"):
		return p.block()
	case p.accept(";"):
		return func(*frame) outcome { return goesOn }
	}
	v := p.expression()
	p.end()
	return func(f *frame) outcome {
		v(f)
		return goesOn
	}
}

// block is what follows its brace, with its own let and const.
func (p *parser) block() stmt {
	outer := p.own
	p.own = false
	var list []stmt
	for !p.accept("}") {
		list = append(list, p.statement())
	}
	own := p.own
	p.own = outer
	run := func(f *frame) outcome {
		for _, s := range list {
			if o := s(f); o != goesOn {
				return o
			}
		}
		return goesOn
	}
	if own {
		return scoped(run)
	}
	return run
}

// scoped runs a statement with variables of its own.
func scoped(s stmt) stmt {
	return func(f *frame) outcome {
		outer := f.scope
		f.scope = f.inner()
		defer func() { f.scope = outer }()
		return s(f)
	}
}

// variables is a declaration without its end.
func (p *parser) variables() stmt {
	word := p.tok.text
	p.own = p.own || word != "var"
	p.advance()
	var list []stmt
	for {
		name := p.name()
		if word == "var" {
			p.body.declare(name)
		}
		var v expr
		if p.accept("=") {
			v = p.assignment()
		} else if word == "const" && !p.tok.is("in") {
			p.fail("the constant " + clip(name) + " has no value")
		}
		list = append(list, declare(word, name, v))
		if !p.accept(",") {
			break
		}
	}
	return func(f *frame) outcome {
		for _, s := range list {
			s(f)
		}
		return goesOn
	}
}

func declare(word, name string, v expr) stmt {
	return func(f *frame) outcome {
		var to *value
		if word == "var" {
			if v == nil {
				return goesOn
			}
			to = f.scope.find(name)
		}
		var given value
		if v != nil {
			given = v(f)
		}
		if to == nil {
			to = f.scope.declare(f.m, name)
		}
		*to = given
		return goesOn
	}
}
