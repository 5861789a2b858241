package pac

import (
	"math"
	"strconv"
)

// index is a property's name as that of an element, -1 if it is none.
func index(m *machine, k value) int {
	if n, ok := k.(float64); ok && n >= 0 && n < 1<<31 && n == math.Trunc(n) {
		return int(n)
	}
	if s, ok := k.(string); ok {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 && strconv.Itoa(n) == s {
			return n
		}
	}
	return -1
}

func (m *machine) get(o value, k value) value {
	m.step(1)
	switch o := o.(type) {
	case nil, null:
		m.mistake("there is no property of " + toText(m, o))
	case string:
		if i := index(m, k); i >= 0 {
			if i < len(o) {
				return o[i : i+1]
			}
			return nil
		}
		name := toText(m, k)
		if name == "length" {
			return float64(len(o))
		}
		return method(m, stringMethods, name)
	case *object:
		if o.class == "Array" {
			if i := index(m, k); i >= 0 {
				if i < len(o.elems) {
					return o.elems[i]
				}
				return nil
			}
		}
		name := toText(m, k)
		if v, ok := o.props[name]; ok {
			return v
		}
		switch o.class {
		case "Array":
			if name == "length" {
				return float64(len(o.elems))
			}
			return method(m, arrayMethods, name)
		case "RegExp":
			return method(m, regexpMethods, name)
		case "Date":
			return method(m, dateMethods, name)
		}
		return method(m, objectMethods, name)
	case float64:
		return method(m, numberMethods, toText(m, k))
	}
	return nil
}

func method(m *machine, of func(string) builtin, name string) value {
	if f := of(name); f != nil {
		return m.function(f)
	}
	if f := objectMethods(name); f != nil {
		return m.function(f)
	}
	return nil
}

func (m *machine) set(target, k, v value) {
	m.step(1)
	o, ok := target.(*object)
	if !ok {
		m.mistake("a property is set of what is no object")
	}
	if o.class == "Array" {
		if i := index(m, k); i >= 0 {
			if grow := i + 1 - len(o.elems); grow > 0 {
				m.step(grow)
				m.take(32 * grow)
				o.elems = append(o.elems, make([]value, grow)...)
			}
			o.elems[i] = v
			return
		}
		if toText(m, k) == "length" {
			n := toNumber(m, v)
			if n != math.Trunc(n) || n < 0 || int(n) > len(o.elems) {
				m.mistake("the length of an array can only be made less")
			}
			o.elems = o.elems[:int(n)]
			return
		}
	}
	name := toText(m, k)
	if _, known := o.props[name]; !known {
		m.take(64 + len(name))
		if o.props == nil {
			o.props = map[string]value{}
		}
		o.keys = append(o.keys, name)
	}
	o.props[name] = v
}
