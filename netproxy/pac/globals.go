package pac

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// globals are the functions and objects of the language.
func globals(m *machine) map[string]value {
	fn := func(f func(args []value) value) *object {
		return m.function(func(_ *machine, _ value, args []value) value { return f(args) })
	}
	number := func(f func(float64) float64) *object {
		return fn(func(args []value) value { return f(toNumber(m, arg(args, 0))) })
	}
	many := func(f func(a, b float64) float64, from float64) *object {
		return fn(func(args []value) value {
			v := from
			for _, a := range args {
				v = f(v, toNumber(m, a))
			}
			return v
		})
	}
	maths := m.object("Object")
	maths.props = map[string]value{
		"floor": number(math.Floor), "ceil": number(math.Ceil), "abs": number(math.Abs), "round": number(func(n float64) float64 { return math.Floor(n + 0.5) }),
		"max": many(math.Max, math.Inf(-1)), "min": many(math.Min, math.Inf(1)), "PI": math.Pi,
		"random": fn(func([]value) value { return rand.Float64() }), // which of equal proxies
		"pow":    fn(func(args []value) value { return math.Pow(toNumber(m, arg(args, 0)), toNumber(m, arg(args, 1))) }),
	}
	date := fn(func([]value) value { return m.env.Now.Format("Mon Jan 02 2006 15:04:05 GMT-0700") })
	date.make = func(m *machine, args []value) value {
		o := m.object("Date")
		o.when = m.env.Now
		if len(args) == 1 {
			n := toNumber(m, args[0])
			if math.IsNaN(n) || math.Abs(n) > 8.64e15 {
				m.mistake("Date takes nothing, milliseconds, or year, month, day and so on")
			}
			o.when = time.UnixMilli(int64(n)).In(m.env.Now.Location())
		} else if len(args) > 1 {
			v := [6]int{2: 1}
			for i := range min(len(args), 6) {
				v[i] = intArg(m, args, i, 0, -1e6, 1e6)
			}
			o.when = time.Date(v[0], time.Month(v[1]+1), v[2], v[3], v[4], v[5], 0, m.env.Now.Location())
		}
		return o
	}
	array := fn(func(args []value) value { return m.array(slices.Clone(args)) })
	array.make = func(m *machine, args []value) value {
		if n, ok := arg(args, 0).(float64); ok && len(args) == 1 {
			o := m.array(nil)
			if n > 0 {
				m.set(o, n-1, nil)
			}
			return o
		}
		return m.array(slices.Clone(args))
	}
	obj := fn(func([]value) value { return m.object("Object") })
	obj.make = func(m *machine, _ []value) value { return m.object("Object") }
	re := fn(func([]value) value { return nil })
	re.make = func(m *machine, args []value) value {
		flags := ""
		if len(args) > 1 {
			flags = textArg(m, args, 1)
		}
		m.step(5000) // compiling one is more work than using it
		compiled, all, err := compilePattern(textArg(m, args, 0), flags)
		if err != "" {
			m.mistake(err)
		}
		o := m.object("RegExp")
		o.re, o.all = compiled, all
		return o
	}
	re.call = func(m *machine, _ value, args []value) value { return re.make(m, args) }
	failure := fn(func(args []value) value { return nil })
	failure.make = func(m *machine, args []value) value {
		o := m.object("Object")
		m.set(o, "message", textArg(m, args, 0))
		return o
	}
	return map[string]value{
		"Math": maths, "Date": date, "Array": array, "Object": obj, "RegExp": re, "Error": failure,
		"NaN": math.NaN(), "Infinity": math.Inf(1), "undefined": nil,
		"String":   fn(func(args []value) value { return textArg(m, args, 0) }),
		"Number":   fn(func(args []value) value { return toNumber(m, arg(args, 0)) }),
		"Boolean":  fn(func(args []value) value { return truth(arg(args, 0)) }),
		"isNaN":    fn(func(args []value) value { return math.IsNaN(toNumber(m, arg(args, 0))) }),
		"parseInt": fn(func(args []value) value { return parseInt(textArg(m, args, 0), intArg(m, args, 1, 0, 0, 37)) }),
		"parseFloat": fn(func(args []value) value {
			s := strings.TrimLeft(textArg(m, args, 0), " \t\r\n")
			n := len(s) - len(strings.TrimLeft(s, "+-0123456789."))
			for ; n > 0; n-- {
				if v, err := strconv.ParseFloat(s[:n], 64); err == nil {
					return v
				}
				m.step(n)
			}
			return math.NaN()
		}),
	}
}

func parseInt(s string, base int) float64 {
	s = strings.ToLower(strings.TrimLeft(s, " \t\r\n\v\f"))
	sign := 1.0
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	if h, ok := strings.CutPrefix(s, "0x"); ok && (base == 0 || base == 16) {
		s, base = h, 16
	}
	if base == 0 {
		base = 10
	}
	if base < 2 || base > 36 {
		return math.NaN()
	}
	v, n := 0.0, 0
	for ; n < len(s); n++ {
		d := strings.IndexByte("0123456789abcdefghijklmnopqrstuvwxyz"[:base], s[n])
		if d < 0 {
			break
		}
		v = v*float64(base) + float64(d)
	}
	if n == 0 {
		return math.NaN()
	}
	return sign * v
}
