package pac

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

func regexpMethods(name string) builtin {
	if name != "test" && name != "exec" {
		return nil
	}
	return func(m *machine, this value, args []value) value {
		o, ok := this.(*object)
		if !ok || o.class != "RegExp" {
			m.mistake(name + " is of a regular expression")
		}
		if o.all {
			m.mistake(name + " of a regular expression with the flag g, which would remember where it was")
		}
		s := textArg(m, args, 0)
		m.step(10 + 4*len(s))
		if name == "test" {
			return o.re.MatchString(s)
		}
		return found(m, o, s)
	}
}

func arrayMethods(name string) builtin {
	with := func(f func(m *machine, o *object, args []value) value) builtin {
		return func(m *machine, this value, args []value) value {
			o, ok := this.(*object)
			if !ok || o.class != "Array" {
				m.mistake(name + " is of an array")
			}
			m.step(1 + len(o.elems)/4)
			return f(m, o, args)
		}
	}
	switch name {
	case "push":
		return with(func(m *machine, o *object, args []value) value {
			m.take(32 * len(args))
			o.elems = append(o.elems, args...)
			return float64(len(o.elems))
		})
	case "pop":
		return with(func(_ *machine, o *object, _ []value) value {
			if len(o.elems) == 0 {
				return nil
			}
			last := o.elems[len(o.elems)-1]
			o.elems = o.elems[:len(o.elems)-1]
			return last
		})
	case "shift":
		return with(func(_ *machine, o *object, _ []value) value {
			if len(o.elems) == 0 {
				return nil
			}
			first := o.elems[0]
			o.elems = o.elems[1:]
			return first
		})
	case "join":
		return with(func(m *machine, o *object, args []value) value {
			if arg(args, 0) == nil {
				return joined(m, o, ",")
			}
			return joined(m, o, textArg(m, args, 0))
		})
	case "indexOf", "includes":
		return with(func(m *machine, o *object, args []value) value {
			i := slices.IndexFunc(o.elems, func(v value) bool { return same(v, arg(args, 0)) })
			if name == "includes" {
				return i >= 0
			}
			return float64(i)
		})
	case "concat":
		return with(func(m *machine, o *object, args []value) value {
			out := slices.Clone(o.elems)
			for _, a := range args {
				if x, ok := a.(*object); ok && x.class == "Array" {
					out = append(out, x.elems...)
				} else {
					out = append(out, a)
				}
				m.step(len(out) / 4)
			}
			return m.array(out)
		})
	case "slice":
		return with(func(m *machine, o *object, args []value) value {
			a, b := fromEnd(m, args, 0, 0, len(o.elems)), fromEnd(m, args, 1, len(o.elems), len(o.elems))
			return m.array(slices.Clone(o.elems[a:max(a, b)]))
		})
	case "reverse":
		return with(func(_ *machine, o *object, _ []value) value {
			slices.Reverse(o.elems)
			return o
		})
	case "forEach", "some", "every", "filter", "map":
		return with(func(m *machine, o *object, args []value) value { return each(m, name, o, arg(args, 0)) })
	}
	return nil
}

func each(m *machine, name string, o *object, fn value) value {
	var out []value
	for i, v := range slices.Clone(o.elems) {
		r := m.invoke(fn, nil, []value{v, float64(i), o})
		switch {
		case name == "some" && truth(r):
			return true
		case name == "every" && !truth(r):
			return false
		case name == "filter" && truth(r):
			out = append(out, v)
		case name == "map":
			out = append(out, r)
		}
	}
	switch name {
	case "some":
		return false
	case "every":
		return true
	case "forEach":
		return nil
	}
	return m.array(out)
}

func objectMethods(name string) builtin {
	switch name {
	case "hasOwnProperty":
		return func(m *machine, this value, args []value) value {
			o, ok := this.(*object)
			if !ok {
				return false
			}
			i := index(m, arg(args, 0))
			_, has := o.props[textArg(m, args, 0)]
			return has || o.class == "Array" && i >= 0 && i < len(o.elems)
		}
	case "toString":
		return func(m *machine, this value, _ []value) value { return toText(m, this) }
	}
	return nil
}

func numberMethods(name string) builtin {
	if name != "toString" {
		return nil
	}
	return func(m *machine, this value, args []value) value {
		n, base := toNumber(m, this), intArg(m, args, 0, 10, 2, 36)
		if base == 10 || n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return numberText(n)
		}
		return strconv.FormatInt(int64(n), base)
	}
}

func dateMethods(name string) builtin {
	at := func(f func(t time.Time) int) builtin {
		return func(m *machine, this value, _ []value) value {
			o, ok := this.(*object)
			if !ok || o.class != "Date" {
				m.mistake(name + " is of a Date")
			}
			t := o.when
			if strings.HasPrefix(name, "getUTC") {
				t = t.UTC()
			}
			return float64(f(t))
		}
	}
	switch strings.Replace(name, "getUTC", "get", 1) {
	case "getTime", "valueOf":
		return at(func(t time.Time) int { return int(t.UnixMilli()) })
	case "getFullYear":
		return at(time.Time.Year)
	case "getMonth":
		return at(func(t time.Time) int { return int(t.Month()) - 1 })
	case "getDate":
		return at(time.Time.Day)
	case "getDay":
		return at(func(t time.Time) int { return int(t.Weekday()) })
	case "getHours":
		return at(time.Time.Hour)
	case "getMinutes":
		return at(time.Time.Minute)
	case "getSeconds":
		return at(time.Time.Second)
	}
	return nil
}
