package pac

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// value is a value of JavaScript: nil is undefined; null, bool, float64, string and
// *object are themselves.
type value any

type null struct{}

// object is an object: an array has elems, and a function call.
type object struct {
	class string // Object, Array, Function, RegExp, Date
	props map[string]value
	keys  []string // of props, as they came
	elems []value
	call  func(m *machine, this value, args []value) value
	make  func(m *machine, args []value) value // what new does; nil: it can't be made
	re    *regexp.Regexp
	all   bool // a RegExp's flag g
	when  time.Time
}

// machine is one evaluation.
type machine struct {
	steps, bytes int // that are left
	depth        int // of calls within each other
	line         int // of the call or statement that runs
	env          *Env
	global       *scope
}

// Limits of one evaluation, and of a file.
const (
	maxSteps = 2_000_000
	maxBytes = 16 << 20
	maxDepth = 100
	// MaxFile bounds a file, in bytes.
	MaxFile = 1 << 20
	// maxNesting bounds what stands within each other in a file.
	maxNesting = 150
	maxPattern = 2000
	// maxPatterns bounds the regular expressions of a file together, in bytes.
	maxPatterns = 64 << 10
	// maxChain bounds operators of one kind in a row.
	maxChain = 5000
)

// overrun is the end of an evaluation that no catch of the file holds up.
type overrun struct{ what string }

// thrown is what throw has thrown, or a mistake of the file.
type thrown struct{ v value }

func (m *machine) step(n int) {
	if m.steps -= n; m.steps < 0 {
		panic(overrun{"it takes more than " + strconv.Itoa(maxSteps) + " steps"})
	}
}

func (m *machine) take(n int) {
	if m.bytes -= n; n < 0 || m.bytes < 0 {
		panic(overrun{"it takes more than " + strconv.Itoa(maxBytes) + " bytes"})
	}
}

// text takes a new text's memory.
func (m *machine) text(s string) string {
	m.step(len(s) / 16)
	m.take(16 + len(s))
	return s
}

func (m *machine) mistake(what string) {
	panic(thrown{"TypeError: " + what})
}

const objectBytes = 200

func (m *machine) object(class string) *object {
	m.take(objectBytes)
	return &object{class: class}
}

func (m *machine) array(elems []value) *object {
	o := m.object("Array")
	m.take(16 * len(elems))
	o.elems = elems
	return o
}

func (m *machine) function(call func(m *machine, this value, args []value) value) *object {
	o := m.object("Function")
	o.call = call
	return o
}

func truth(v value) bool {
	switch v := v.(type) {
	case nil, null:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	}
	return true
}

func toNumber(m *machine, v value) float64 {
	switch v := v.(type) {
	case nil:
		return math.NaN()
	case null:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		s := strings.Trim(v, " \t\r\n\v\f")
		if s == "" {
			return 0
		}
		if h, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
			if n, err := strconv.ParseUint(h, 16, 64); err == nil {
				return float64(n)
			}
			return math.NaN()
		}
		switch strings.TrimLeft(s, "+-") {
		case "Infinity":
			return math.Inf(1 - 2*strings.Count(s[:1], "-"))
		}
		if strings.Trim(s, "0123456789.eE+-") != "" {
			return math.NaN()
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(n, 0) {
			return math.NaN()
		}
		return n
	case *object:
		if v.class == "Date" {
			return float64(v.when.UnixMilli())
		}
		return toNumber(m, toText(m, v))
	}
	return math.NaN()
}

// toInt is ToInt32 of ECMA-262.
func toInt(m *machine, v value) int32 {
	n := toNumber(m, v)
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0
	}
	return int32(uint32(int64(math.Mod(math.Trunc(n), 1<<32))))
}

func toText(m *machine, v value) string {
	switch v := v.(type) {
	case nil:
		return "undefined"
	case null:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return numberText(v)
	case string:
		return v
	case *object:
		m.depth++
		defer func() { m.depth-- }()
		if m.depth > maxDepth {
			panic(overrun{"it goes too deep"})
		}
		switch v.class {
		case "Array":
			return joined(m, v, ",")
		case "RegExp":
			return "/" + v.re.String() + "/"
		case "Date":
			return v.when.Format("Mon Jan 02 2006 15:04:05 GMT-0700")
		}
		return "[object " + v.class + "]"
	}
	return ""
}

func joined(m *machine, o *object, sep string) string {
	var b strings.Builder
	for i, e := range o.elems {
		m.step(1)
		if i > 0 {
			m.text(sep)
			b.WriteString(sep)
		}
		if _, isNull := e.(null); e != nil && !isNull {
			b.WriteString(m.text(toText(m, e)))
		}
	}
	return b.String()
}

func numberText(n float64) string {
	switch {
	case math.IsNaN(n):
		return "NaN"
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	case n == 0:
		return "0"
	case math.Abs(n) >= 1e21 || math.Abs(n) < 1e-6:
		s := strconv.FormatFloat(n, 'e', -1, 64)
		mantissa, exp, _ := strings.Cut(s, "e")
		return mantissa + "e" + exp[:1] + strings.TrimLeft(exp[1:], "0")
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func typeOf(v value) string {
	switch v := v.(type) {
	case nil:
		return "undefined"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case *object:
		if v.call != nil {
			return "function"
		}
	}
	return "object"
}

// same is ===.
func same(a, b value) bool {
	if x, ok := a.(*object); ok {
		y, ok := b.(*object)
		return ok && x == y
	}
	if _, ok := b.(*object); ok {
		return false
	}
	return a == b // also for numbers: NaN is not itself
}

// equal is ==.
func equal(m *machine, a, b value) bool {
	none := func(v value) bool { _, ok := v.(null); return ok || v == nil }
	if none(a) || none(b) {
		return none(a) && none(b)
	}
	x, isX := a.(*object)
	y, isY := b.(*object)
	switch {
	case isX && isY:
		return x == y
	case isX:
		return equal(m, toText(m, x), b)
	case isY:
		return equal(m, a, toText(m, y))
	}
	s, isS := a.(string)
	t, isT := b.(string)
	if isS && isT {
		return s == t
	}
	return toNumber(m, a) == toNumber(m, b)
}

// compare is <, and > with the sides changed; false for what can't be compared.
func compare(m *machine, a, b value, orEqual bool) bool {
	if x, ok := a.(*object); ok && x.class != "Date" {
		a = toText(m, x)
	}
	if y, ok := b.(*object); ok && y.class != "Date" {
		b = toText(m, y)
	}
	s, isS := a.(string)
	t, isT := b.(string)
	if isS && isT {
		m.step(min(len(s), len(t)) / 16)
		return s < t || orEqual && s == t
	}
	x, y := toNumber(m, a), toNumber(m, b)
	return x < y || orEqual && x == y
}
