package pac

import (
	"math"
	"strings"
)

type builtin = func(m *machine, this value, args []value) value

func arg(args []value, i int) value {
	if i < len(args) {
		return args[i]
	}
	return nil
}

// textArg is an argument as a text.
func textArg(m *machine, args []value, i int) string { return toText(m, arg(args, i)) }

// intArg is an argument as a whole number between two bounds; or is what counts without one.
func intArg(m *machine, args []value, i, or, least, most int) int {
	if i >= len(args) || args[i] == nil {
		return or
	}
	n := math.Trunc(toNumber(m, args[i]))
	if math.IsNaN(n) {
		n = 0
	}
	return int(max(float64(least), min(float64(most), n)))
}

// fromEnd is intArg where less than nothing counts from the end.
func fromEnd(m *machine, args []value, i, or, n int) int {
	v := intArg(m, args, i, or, -n, n)
	if v < 0 {
		v += n
	}
	return v
}

func bound(m *machine, this value) string {
	s := toText(m, this)
	m.step(1 + len(s)/16)
	return s
}

func stringMethods(name string) builtin {
	switch name {
	case "charAt":
		return func(m *machine, this value, args []value) value {
			s, i := bound(m, this), intArg(m, args, 0, 0, -1, 1<<30)
			if i < 0 || i >= len(s) {
				return ""
			}
			return s[i : i+1]
		}
	case "charCodeAt":
		return func(m *machine, this value, args []value) value {
			s, i := bound(m, this), intArg(m, args, 0, 0, -1, 1<<30)
			if i < 0 || i >= len(s) {
				return math.NaN()
			}
			return float64(s[i])
		}
	case "indexOf", "includes", "startsWith":
		return func(m *machine, this value, args []value) value {
			s, what := bound(m, this), textArg(m, args, 0)
			from := intArg(m, args, 1, 0, 0, len(s))
			if name == "startsWith" {
				return strings.HasPrefix(s[from:], what)
			}
			i := strings.Index(s[from:], what)
			if name == "includes" {
				return i >= 0
			}
			if i >= 0 {
				i += from
			}
			return float64(i)
		}
	case "endsWith":
		return func(m *machine, this value, args []value) value {
			s := bound(m, this)
			return strings.HasSuffix(s[:intArg(m, args, 1, len(s), 0, len(s))], textArg(m, args, 0))
		}
	case "lastIndexOf":
		return func(m *machine, this value, args []value) value {
			s, what := bound(m, this), textArg(m, args, 0)
			return float64(strings.LastIndex(s[:min(len(s), intArg(m, args, 1, len(s), 0, len(s))+len(what))], what))
		}
	case "substring":
		return func(m *machine, this value, args []value) value {
			s := bound(m, this)
			a, b := intArg(m, args, 0, 0, 0, len(s)), intArg(m, args, 1, len(s), 0, len(s))
			return s[min(a, b):max(a, b)]
		}
	case "slice":
		return func(m *machine, this value, args []value) value {
			s := bound(m, this)
			a, b := fromEnd(m, args, 0, 0, len(s)), fromEnd(m, args, 1, len(s), len(s))
			return s[a:max(a, b)]
		}
	case "substr":
		return func(m *machine, this value, args []value) value {
			s := bound(m, this)
			a := fromEnd(m, args, 0, 0, len(s))
			return s[a : a+intArg(m, args, 1, len(s)-a, 0, len(s)-a)]
		}
	case "toLowerCase", "toUpperCase":
		return func(m *machine, this value, _ []value) value {
			s := m.text(bound(m, this))
			if name == "toLowerCase" {
				return strings.ToLower(s)
			}
			return strings.ToUpper(s)
		}
	case "trim":
		return func(m *machine, this value, _ []value) value { return strings.Trim(bound(m, this), " \t\r\n\v\f") }
	case "toString", "valueOf":
		return func(m *machine, this value, _ []value) value { return bound(m, this) }
	case "concat":
		return func(m *machine, this value, args []value) value {
			s := bound(m, this)
			for i := range args {
				s = operate(m, "+", s, textArg(m, args, i)).(string)
			}
			return s
		}
	case "split":
		return split
	case "replace", "match", "search":
		return func(m *machine, this value, args []value) value { return matching(m, name, bound(m, this), args) }
	}
	return nil
}

func split(m *machine, this value, args []value) value {
	s := bound(m, this)
	if arg(args, 0) == nil {
		return m.array([]value{s})
	}
	var parts []string
	if o, ok := args[0].(*object); ok && o.class == "RegExp" {
		m.step(len(s))
		m.take(32 * len(s))
		parts = o.re.Split(s, -1)
	} else {
		sep := textArg(m, args, 0)
		n := strings.Count(s, sep) + 1
		m.step(n)
		m.take(32 * n)
		if s == "" && sep == "" {
			return m.array(nil)
		}
		parts = strings.Split(s, sep)
	}
	out := make([]value, 0, len(parts))
	for _, v := range parts {
		out = append(out, v)
	}
	return m.array(out[:intArg(m, args, 1, len(out), 0, len(out))])
}

// matching is what the methods with a pattern do.
func matching(m *machine, name, s string, args []value) value {
	o, _ := arg(args, 0).(*object)
	if o == nil || o.class != "RegExp" {
		if name != "replace" {
			m.mistake(name + " takes a regular expression")
		}
		what, with := textArg(m, args, 0), replacement(m, args)
		i := strings.Index(s, what)
		if i < 0 {
			return s
		}
		return m.text(s[:i] + with + s[i+len(what):])
	}
	m.step(10 + 4*len(s))
	switch name {
	case "search":
		if at := o.re.FindStringIndex(s); at != nil {
			return float64(at[0])
		}
		return -1.0
	case "match":
		if !o.all {
			return found(m, o, s)
		}
		m.take(64 * (len(s) + 1))
		list := o.re.FindAllString(s, -1)
		if list == nil {
			return null{}
		}
		out := make([]value, 0, len(list))
		for _, v := range list {
			out = append(out, v)
		}
		return m.array(out)
	}
	with, n := replacement(m, args), 1
	if o.all {
		n = -1
	}
	var b strings.Builder
	at := 0
	m.take(64 * (len(s) + 1))
	for _, i := range o.re.FindAllStringIndex(s, n) {
		b.WriteString(m.text(s[at:i[0]] + with))
		at = i[1]
	}
	return b.String() + m.text(s[at:])
}

// replacement is what a match is replaced by: a text without references to it.
func replacement(m *machine, args []value) string {
	with := textArg(m, args, 1)
	if o, ok := arg(args, 1).(*object); ok && o.call != nil || strings.Contains(with, "$") {
		m.mistake("replace takes a text without $")
	}
	return with
}

// found is what exec returns.
func found(m *machine, o *object, s string) value {
	at := o.re.FindStringSubmatchIndex(s)
	if at == nil {
		return null{}
	}
	var out []value
	for i := 0; i < len(at); i += 2 {
		if at[i] < 0 {
			out = append(out, nil)
		} else {
			out = append(out, s[at[i]:at[i+1]])
		}
	}
	v := m.array(out)
	m.set(v, "index", float64(at[0]))
	return v
}
