package cel

import (
	"strconv"
	"strings"
)

// member is: primary {"." name ["(" args ")"] | "[" expression "]"}.
func (p *parser) member() (value, error) {
	v, err := p.primary()
	for err == nil {
		at := p.tok.pos
		switch {
		case p.is("["):
			v, err = p.index(v, at)
		case p.is("."):
			if err = p.advance(); err != nil {
				break
			}
			if p.tok.kind != word {
				return v, p.unexpected("a name")
			}
			name, pos := p.tok.text, p.tok.pos
			if err = p.advance(); err != nil {
				break
			}
			if p.is("(") {
				v, err = p.method(v, name, pos)
			} else {
				v, err = p.selection(v, name, pos)
			}
		default:
			return v, nil
		}
	}
	return v, err
}

// index is headers["name"].
func (p *parser) index(v value, at int) (value, error) {
	err := p.advance()
	var key value
	if err == nil {
		key, err = p.expression()
	}
	if err == nil {
		err = p.take("]")
	}
	if err != nil {
		return v, err
	}
	if v.typ != tHeaders || key.typ != tString {
		return v, p.mismatch(at, "[]", v, key)
	}
	found := lookup(v, key, v.pos)
	found.has = nil // CEL's has() is about names only; this is "name" in headers
	return found, nil
}

// selection is value.name.
func (p *parser) selection(v value, name string, pos int) (value, error) {
	switch v.typ {
	case tObject:
		f, ok := v.object.field(name, v.pos)
		if !ok {
			return v, p.fail(pos, v.object.name+" has no field "+strconv.QuoteToASCII(name), "it has "+strings.Join(v.object.fieldNames(), ", "))
		}
		return f, nil
	case tHeaders:
		key := value{typ: tString, text: &name, s: func(*run) (string, error) { return name, nil }}
		return lookup(v, key, v.pos), nil
	}
	return v, p.fail(pos, "a "+v.typ.String()+" has no field "+strconv.QuoteToASCII(name), "")
}

// words that CEL keeps for itself.
func reserved() []string {
	return []string{"in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while", "null"}
}

// primary is a literal, a variable, a call or something in brackets.
func (p *parser) primary() (value, error) {
	t := p.tok
	switch {
	case t.kind == number:
		return p.number(t)
	case t.kind == quoted:
		text := t.text
		return value{typ: tString, pos: t.pos, text: &text, words: []string{text}, s: func(*run) (string, error) { return text, nil }}, p.advance()
	case p.is("("):
		if err := p.advance(); err != nil {
			return value{}, err
		}
		v, err := p.expression()
		if err == nil {
			err = p.take(")")
		}
		v.has = nil // what is in brackets is no selection
		return v, err
	case p.is("["):
		return p.literal(t.pos)
	case t.kind != word:
		return value{}, p.unexpected("a value")
	}
	if err := p.advance(); err != nil {
		return value{}, err
	}
	if p.is("(") {
		return p.call(t.text, t.pos)
	}
	for i := len(p.vars) - 1; i >= 0; i-- {
		if p.vars[i].name == t.text {
			return value{typ: p.vars[i].typ, pos: t.pos,
				i: func(x *run) (int64, error) { return x.ints[i], nil },
				s: func(x *run) (string, error) { return x.texts[i], nil }}, nil
		}
	}
	switch t.text {
	case "true", "false":
		is := t.text == "true"
		return value{typ: tBool, pos: t.pos, b: func(*run) (bool, error) { return is, nil }}, nil
	}
	if o := objectAt(t.text, p.on); o != nil {
		return value{typ: tObject, pos: t.pos, object: o}, nil
	}
	return value{}, p.fail(t.pos, "nothing is called "+strconv.QuoteToASCII(t.text), unknownName(t.text, p.on))
}

// number reads a whole number, decimal or hexadecimal.
func (p *parser) number(t token) (value, error) {
	text, base := t.text, 10
	if digits := strings.TrimPrefix(text, "-"); strings.HasPrefix(digits, "0x") {
		text, base = strings.TrimSuffix(text, digits)+digits[2:], 16
	}
	n, err := strconv.ParseInt(text, base, 64)
	if err != nil || strings.Contains(text, "_") {
		return value{}, p.fail(t.pos, show(t)+" is not a whole number", "")
	}
	return value{typ: tInt, pos: t.pos, number: &n, i: func(*run) (int64, error) { return n, nil }}, p.advance()
}

// literal reads a list of texts or of numbers.
func (p *parser) literal(at int) (value, error) {
	v := value{pos: at}
	err := p.advance()
	for err == nil && !p.is("]") {
		var e value
		if e, err = p.expression(); err != nil {
			break
		}
		if e.text == nil && e.number == nil || len(v.list) > 0 && e.typ != v.list[0].typ {
			return v, p.fail(e.pos, "a list is of texts in quotes, or of numbers that are written out", "")
		}
		v.list = append(v.list, e)
		if !p.is(",") {
			break
		}
		err = p.advance()
	}
	if err == nil {
		err = p.take("]")
	}
	if err != nil {
		return v, err
	}
	if len(v.list) == 0 {
		return v, p.fail(at, "the list is empty", "")
	}
	if v.typ = tStrings; v.list[0].typ == tInt {
		v.typ = tInts
	}
	return v, nil
}
