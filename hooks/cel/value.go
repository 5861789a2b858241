package cel

import (
	"errors"
	"math"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// typ is the type of an expression.
type typ uint8

const (
	tBool typ = iota + 1
	tInt
	tString
	tStrings // a list literal
	tInts
	tHeaders // of a request or a response
	tObject
)

func (t typ) String() string {
	switch t {
	case tBool:
		return "bool"
	case tInt:
		return "int"
	case tString:
		return "string"
	case tStrings:
		return "list(string)"
	case tInts:
		return "list(int)"
	case tHeaders:
		return "map(string, string)"
	}
	return "object"
}

// element is what a list's elements are.
func (t typ) element() typ {
	if t == tInts {
		return tInt
	}
	return tString
}

// value is a compiled expression. Of the functions the one of its type is set:
// so nothing is boxed, and a condition allocates nothing.
type value struct {
	typ    typ
	pos    int
	b      func(*run) (bool, error)
	i      func(*run) (int64, error)
	s      func(*run) (string, error)
	list   []value                  // of a list literal: literals
	text   *string                  // of a text in quotes
	words  []string                 // texts in quotes that it may begin with, as far as is known
	number *int64                   // of a number that is written out
	has    func(*run) (bool, error) // of a selection: whether it is there
	object *object                  // of tObject
	// Of tHeaders: whose they are, and where.
	of     string
	header func(*hooks.Request) http.Header
}

// run is one evaluation.
type run struct {
	r     *hooks.Request
	left  int    // what it may still cost
	text  string // of a body
	texts [maxNesting]string
	ints  [maxNesting]int64
}

// errors of an evaluation. They hold no bytes of the pen.
var (
	errCost    = errors.New("it costs more than is allowed for one request")
	errRange   = errors.New("a number is out of range")
	errDivide  = errors.New("division by zero")
	errConvert = errors.New("int() of a text that is not a number")
)

// noKey says that there is no such header field. A key that the pen chose is not
// repeated.
type noKey struct{ of, name string }

func (e *noKey) Error() string {
	if e.name == "" {
		return e.of + " has no such key"
	}
	return e.of + " has no " + e.name
}

// pay takes the cost of one step over so many bytes.
func (x *run) pay(bytes int) error {
	if x.left -= 1 + bytes/16; x.left < 0 {
		return errCost
	}
	return nil
}

// header looks a field up by its name in lower case; several values are joined by
// a comma (RFC 9110 section 5.3).
func header(h http.Header, name, canonical string) (string, bool) {
	if name != strings.ToLower(name) {
		return "", false
	}
	list := h[canonical]
	switch len(list) {
	case 0:
		return "", false
	case 1:
		return list[0], true
	}
	return strings.Join(list, ", "), true
}

// lookup is headers[key].
func lookup(headers, key value, pos int) value {
	missing, canonical := &noKey{of: headers.of}, ""
	if key.text != nil {
		missing.name = strconv.QuoteToASCII(*key.text)
		canonical = textproto.CanonicalMIMEHeaderKey(*key.text)
	}
	find := func(x *run) (found string, ok bool, err error) {
		name, err := key.s(x)
		if err == nil {
			err = x.pay(len(name))
		}
		if err != nil {
			return "", false, err
		}
		c := canonical
		if key.text == nil {
			c = textproto.CanonicalMIMEHeaderKey(name)
		}
		found, ok = header(headers.header(x.r), name, c)
		return found, ok, x.pay(len(found))
	}
	return value{typ: tString, pos: pos,
		s: func(x *run) (string, error) {
			found, ok, err := find(x)
			if err == nil && !ok {
				err = missing
			}
			return found, err
		},
		has: func(x *run) (bool, error) {
			_, ok, err := find(x)
			return ok, err
		}}
}

// either is a || b, or a && b with all: CEL's are commutative, so that an error
// on one side does not count where the other side decides.
func either(all bool, a, b func(*run) (bool, error)) func(*run) (bool, error) {
	return func(x *run) (bool, error) {
		left, lerr := a(x)
		if lerr == nil && left != all {
			return left, nil
		}
		right, rerr := b(x)
		if rerr == nil && right != all {
			return right, nil
		}
		if lerr == nil {
			lerr = rerr
		}
		return all, lerr
	}
}

// ordered is what == and < do with two of a type; compare says how they stand.
func ordered(op string, compare func(*run) (int, error)) func(*run) (bool, error) {
	return func(x *run) (bool, error) {
		c, err := compare(x)
		if err != nil {
			return false, err
		}
		switch op {
		case "==":
			return c == 0, nil
		case "!=":
			return c != 0, nil
		case "<":
			return c < 0, nil
		case "<=":
			return c <= 0, nil
		case ">":
			return c > 0, nil
		}
		return c >= 0, nil
	}
}

// comparison returns how two values of one scalar type stand.
func comparison(a, b value) func(*run) (int, error) {
	switch a.typ {
	case tInt:
		return func(x *run) (int, error) {
			l, r, err := two(x, a.i, b.i)
			switch {
			case l < r:
				return -1, err
			case l > r:
				return 1, err
			}
			return 0, err
		}
	case tString:
		return func(x *run) (int, error) {
			l, r, err := two(x, a.s, b.s)
			if err == nil {
				err = x.pay(min(len(l), len(r)))
			}
			return strings.Compare(l, r), err
		}
	}
	return func(x *run) (int, error) {
		l, r, err := two(x, a.b, b.b)
		switch {
		case l == r:
			return 0, err
		case r:
			return -1, err
		}
		return 1, err
	}
}

// two evaluates both sides.
func two[T any](x *run, a, b func(*run) (T, error)) (l, r T, err error) {
	if err = x.pay(0); err != nil {
		return l, r, err
	}
	if l, err = a(x); err == nil {
		r, err = b(x)
	}
	return l, r, err
}

// arithmetic is int OP int.
func arithmetic(op string, a, b value) func(*run) (int64, error) {
	return func(x *run) (int64, error) {
		l, r, err := two(x, a.i, b.i)
		if err != nil {
			return 0, err
		}
		return calculate(op, l, r)
	}
}

func calculate(op string, l, r int64) (n int64, err error) {
	switch op {
	case "+":
		if n = l + r; (n > l) != (r > 0) {
			return 0, errRange
		}
	case "-":
		if n = l - r; (n < l) != (r > 0) {
			return 0, errRange
		}
	case "*":
		if l == 0 || r == 0 {
			return 0, nil
		}
		if n = l * r; n/r != l || l == -1 && r == math.MinInt64 || r == -1 && l == math.MinInt64 {
			return 0, errRange
		}
	default: // / and %
		switch {
		case r == 0:
			return 0, errDivide
		case r == -1 && l == math.MinInt64:
			return 0, errRange
		case op == "/":
			return l / r, nil
		}
		return l % r, nil
	}
	return n, nil
}

// among is item in list.
func among(item value, list []value) func(*run) (bool, error) {
	one := make([]func(*run) (int, error), len(list))
	for i, e := range list {
		one[i] = comparison(item, e)
	}
	return func(x *run) (bool, error) {
		for _, compare := range one {
			if c, err := compare(x); err != nil || c == 0 {
				return err == nil, err
			}
		}
		return false, nil
	}
}

// fold is list.exists(v, body), or list.all(v, body) with all. slot is where the
// body finds v.
func fold(all bool, list []value, slot int, body func(*run) (bool, error)) func(*run) (bool, error) {
	list = slices.Clone(list)
	return func(x *run) (bool, error) {
		var first error
		for _, e := range list {
			if err := x.pay(0); err != nil {
				return false, err
			}
			if e.number != nil {
				x.ints[slot] = *e.number
			} else {
				x.texts[slot] = *e.text
			}
			ok, err := body(x)
			switch {
			case err == nil && ok != all:
				return ok, nil
			case first == nil:
				first = err
			}
		}
		return all, first
	}
}
