package secrets

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// remembered is how many former values of a secret are still recognised: answers
// to requests that had one may be on their way, and it may be good for a while.
const remembered = 8

// held is a secret's value, which can change while requests are on their way.
type held struct{ now atomic.Pointer[values] }

// values are what a secret is and was.
type values struct {
	value  Value // none when it has expired, or is not there yet
	former []Value
	// reflection returns what finds any of them in an answer: a function, because
	// fmt prints the address of one, see Value.
	reflection func() []group
}

// put makes v the value. It is for one goroutine at a time.
func (h *held) put(v Value, search func(Value) []group) {
	n := &values{value: v}
	if old := h.now.Load(); old != nil {
		n.former = old.former
		if old.value.reveal() != "" && old.value.reveal() != v.reveal() {
			n.former = append([]Value{old.value}, n.former...)
			n.former = n.former[:min(len(n.former), remembered)]
		}
	}
	groups := search(v)
	for _, f := range n.former {
		groups = append(groups, search(f)...)
	}
	n.reflection = func() []group { return slices.Clone(groups) }
	h.now.Store(n)
}

// all returns the value and the former ones.
func (h *held) all() []Value {
	n := h.now.Load()
	return append([]Value{n.value}, n.former...)
}

// Replace gives a secret another value from now on; none takes it away. Former
// values are still found in answers and in texts. A value that can't be used
// changes nothing. The name can be that of a part, see Secret.Parts. Concurrent
// calls for one name take turns.
func (s *Set) Replace(name string, v Value) error {
	if s == nil {
		return fmt.Errorf("replace secret %q: there is none", name)
	}
	if v.reveal() != "" {
		if err := checkValue(v.reveal()); err != nil {
			return fmt.Errorf("replace secret %q: %w", name, err)
		}
	}
	s.replacing.Lock()
	defer s.replacing.Unlock()
	for i := range s.secrets {
		c := &s.secrets[i]
		if c.Name == name {
			c.held.put(v, func(v Value) []group { return newReflection(i, v.reveal(), c.spellings(v)...) })
			return nil
		}
		for part, h := range c.parts {
			if PartName(c.Name, part) == name {
				h.put(v, func(v Value) []group { return newReflection(i, v.reveal()) })
				return nil
			}
		}
	}
	return fmt.Errorf("replace secret %q: it is not declared", name)
}

// Current returns a secret's value, for who compares it with another.
func (s *Set) Current(name string) (v Value, ok bool) {
	if s == nil {
		return v, false
	}
	for i := range s.secrets {
		c := &s.secrets[i]
		if c.Name == name {
			return c.held.now.Load().value, true
		}
		for part, h := range c.parts {
			if PartName(c.Name, part) == name {
				return h.now.Load().value, true
			}
		}
	}
	return v, false
}

// value returns what goes out now.
func (c *Secret) value() (Value, error) {
	v := c.held.now.Load().value
	if v.reveal() == "" {
		return v, &NoValueError{c.Name}
	}
	return v, nil
}

// NoValueError says that a secret was to go out that has no value now.
type NoValueError struct{ Secret string }

// Error returns one line.
func (e *NoValueError) Error() string {
	return "secret " + e.Secret + " has no value now: the last one has expired, and no other could be had"
}

// reflections returns what finds what was sent, and every other value of the
// secret, in an answer.
func (c *Secret) reflections(i int, sent Value) []group {
	if c.AWS != nil { // the id of a key is no secret, and in many answers
		var groups []group
		for _, h := range c.parts {
			groups = append(groups, h.now.Load().reflection()...)
		}
		return groups
	}
	n := c.held.now.Load()
	groups := n.reflection()
	if sent.p != nil && sent.p != n.value.p { // maybe so old that it is forgotten
		groups = append(groups, newReflection(i, sent.reveal(), c.spellings(sent)...)...)
	}
	return groups
}

// PartName names a part of a secret.
func PartName(secret, part string) string { return secret + "." + part }
