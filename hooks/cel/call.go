package cel

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// args reads "(" [expression {"," expression}] ")".
func (p *parser) args() (args []value, err error) {
	err = p.take("(")
	for err == nil && !p.is(")") {
		var a value
		if a, err = p.expression(); err != nil {
			break
		}
		if args = append(args, a); !p.is(",") {
			break
		}
		if err = p.advance(); err == nil && p.is(")") {
			err = p.fail(p.tok.pos, "an argument is missing after the comma", "remove the comma")
		}
	}
	if err == nil {
		err = p.take(")")
	}
	return args, err
}

// call is name(args).
func (p *parser) call(name string, at int) (value, error) {
	args, err := p.args()
	if err != nil {
		return value{}, err
	}
	one := value{}
	if len(args) == 1 {
		one = args[0]
	}
	switch {
	case name == "has" && one.has != nil:
		return value{typ: tBool, pos: at, b: one.has}, nil
	case name == "has":
		return one, p.fail(at, "has() is about a field", "for example has(request.size)")
	case name == "matches" && len(args) == 2:
		return p.matches(args[0], args[1:], at)
	case name == "size" && len(args) == 1:
		return p.sizeOf(one, at)
	case name == "int" && one.typ == tInt, name == "string" && one.typ == tString, name == "bool" && one.typ == tBool:
		one.text, one.number, one.has = nil, nil, nil
		return one, nil
	case name == "int" && one.typ == tString:
		s := one.s
		return value{typ: tInt, pos: at, i: func(x *run) (int64, error) {
			t, err := s(x)
			if err == nil {
				err = x.pay(len(t))
			}
			if err != nil {
				return 0, err
			}
			n, err := strconv.ParseInt(t, 10, 64)
			if err != nil {
				return 0, errConvert
			}
			return n, nil
		}}, nil
	case name == "string" && one.typ == tInt:
		i := one.i
		return value{typ: tString, pos: at, s: func(x *run) (string, error) {
			n, err := i(x)
			return strconv.FormatInt(n, 10), err
		}}, nil
	case slices.Contains(reserved(), name):
		return one, p.fail(at, strconv.QuoteToASCII(name)+" is a word of CEL's own", "")
	}
	return one, p.noFunction(name, at, args)
}

func (p *parser) noFunction(name string, at int, args []value) error {
	switch name {
	case "has", "size", "int", "string", "bool", "matches", "startsWith", "endsWith", "contains", "lowerAscii", "exists", "all":
		return p.mismatch(at, name+"()", args...)
	}
	return p.fail(at, "there is no function "+strconv.QuoteToASCII(name), "there are has, size, int, string, and of a text: startsWith, endsWith, contains, matches, lowerAscii, size; of a list: exists, all")
}

// method is v.name(args).
func (p *parser) method(v value, name string, at int) (value, error) {
	if (name == "exists" || name == "all") && (v.typ == tStrings || v.typ == tInts) {
		return p.fold(v, name == "all", at)
	}
	args, err := p.args()
	if err != nil {
		return v, err
	}
	switch name {
	case "size":
		if len(args) == 0 {
			return p.sizeOf(v, at)
		}
	case "lowerAscii":
		if len(args) == 0 && v.typ == tString {
			return value{typ: tString, pos: v.pos, s: func(x *run) (string, error) {
				s, err := v.s(x)
				if err == nil {
					err = x.pay(len(s))
				}
				return lowerASCII(s), err
			}}, nil
		}
	case "startsWith", "endsWith", "contains":
		if len(args) == 1 && v.typ == tString && args[0].typ == tString {
			return value{typ: tBool, pos: v.pos, b: inText(name, v.s, args[0].s)}, nil
		}
	case "matches":
		return p.matches(v, args, at)
	}
	return v, p.noFunction(name, at, append([]value{v}, args...))
}

func inText(name string, s, part func(*run) (string, error)) func(*run) (bool, error) {
	test := strings.Contains
	switch name {
	case "startsWith":
		test = strings.HasPrefix
	case "endsWith":
		test = strings.HasSuffix
	}
	return func(x *run) (bool, error) {
		l, r, err := two(x, s, part)
		if err == nil {
			err = x.pay(len(l))
		}
		return err == nil && test(l, r), err
	}
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// sizeOf is size(v): of a text its characters, of headers their number.
func (p *parser) sizeOf(v value, at int) (value, error) {
	n := value{typ: tInt, pos: at}
	switch v.typ {
	case tString:
		n.i = func(x *run) (int64, error) {
			s, err := v.s(x)
			if err == nil {
				err = x.pay(len(s))
			}
			return int64(utf8.RuneCountInString(s)), err
		}
	case tHeaders:
		n.i = func(x *run) (int64, error) { return int64(len(v.header(x.r))), nil }
	default:
		return n, p.mismatch(at, "size()", v)
	}
	return n, nil
}

// matches is text.matches("pattern"). The pattern is written out: the pen could
// choose another, and what that costs is only known when it is compiled.
func (p *parser) matches(v value, args []value, at int) (value, error) {
	if v.typ != tString || len(args) != 1 || args[0].typ != tString {
		return v, p.mismatch(at, "matches()", append([]value{v}, args...)...)
	}
	if args[0].text == nil {
		return v, p.fail(args[0].pos, "the pattern of matches() is not a text in quotes", `for example request.path.matches("^/v[0-9]+/")`)
	}
	tree, err := syntax.Parse(*args[0].text, syntax.Perl)
	if err != nil {
		return v, p.fail(args[0].pos, "the pattern of matches() is wrong: "+err.Error(), "patterns are RE2's")
	}
	if weight(tree) > maxPattern {
		return v, p.fail(args[0].pos, "the pattern of matches() is too large", "write a shorter one, with smaller repetitions")
	}
	re, err := regexp.Compile(*args[0].text)
	if err != nil {
		return v, p.fail(args[0].pos, "the pattern of matches() is wrong: "+err.Error(), "patterns are RE2's")
	}
	return value{typ: tBool, pos: v.pos, b: func(x *run) (bool, error) {
		s, err := v.s(x)
		if err == nil {
			err = x.pay(len(s) * 8) // the slowest thing there is
		}
		return err == nil && re.MatchString(s), err
	}}, nil
}

// weight is about how many instructions a regular expression has, from above.
func weight(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += weight(sub)
		if n > maxPattern {
			return n
		}
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// fold is list.exists(name, expression).
func (p *parser) fold(v value, all bool, at int) (value, error) {
	err := p.advance()
	if err != nil {
		return v, err
	}
	name := p.tok
	switch {
	case name.kind != word || objectAt(name.text, p.on) != nil || name.text == "true" || name.text == "false" || slices.Contains(reserved(), name.text):
		return v, p.unexpected("a name for the list's elements")
	case len(p.vars) == maxNesting:
		return v, p.fail(at, "exists() and all() nest too deeply", "write several rules")
	}
	if err = p.advance(); err == nil {
		err = p.take(",")
	}
	if err != nil {
		return v, err
	}
	slot := len(p.vars)
	p.vars = append(p.vars, variableOf{name.text, v.typ.element()})
	body, err := p.expression()
	p.vars = p.vars[:slot]
	if err == nil {
		err = p.take(")")
	}
	if err != nil {
		return v, err
	}
	if body.typ != tBool {
		return v, p.mismatch(body.pos, "exists()", body)
	}
	return value{typ: tBool, pos: v.pos, b: fold(all, v.list, slot, body.b)}, nil
}
