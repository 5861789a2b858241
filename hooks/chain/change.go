package chain

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
)

var (
	errChange = errors.New("it changed a request where that can't be")
	errBounds = errors.New("it changed more than 32 fields, or 8 KiB of them")
	errTwice  = errors.New("it changed a field in two ways")
	errName   = errors.New("it changed a field whose name is not one of letters, digits and hyphens")
	errValue  = errors.New("it set a field to what is no printable ASCII, or has a blank at an end")
)

var (
	errBodyPoint = errors.New("it changed a body where there is none, or only a part")
	errBodyLeave = errors.New("it changed a body, which its entry in the policy does not allow (change: body)")
	errBodyRange = errors.New("it changed a body that is a part of another (a range), whose place in that would be wrong")
	errBodySize  = errors.New("it changed a body to more than its max_body")
	errBodyAgain = errors.New("it changed again a body that it was asked about after a change")
)

// fieldError names a field, by a name that is a token.
type fieldError struct{ what, name, why string }

func (e *fieldError) Error() string { return e.what + " " + e.name + ", " + e.why }

// Fields that belong to a connection, to the message's length or to its target: who
// changes them changes what was judged. What else begins with one of prefixes
// says what the body is, which stays, is a handshake's or a proxy's.
var (
	reserved = []string{"Connection", "Expect", "Host", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}
	prefixes = []string{"Content-", "Http2-", "Proxy-", "Sec-Websocket-"}
	// credentials can be taken away and not given: a hook has no secret, and what it
	// has by heart would be one that stands in no policy.
	credentials = []string{"Authorization", "Cookie", "Proxy-Authorization"}
)

// changed checks a change and returns it with canonical names; nil for one that is
// none.
func changed(r *hooks.Request, c *hooks.Change) (*hooks.Change, error) {
	switch {
	case c == nil:
		return nil, nil //nolint:nilnil // there is none
	case c.Body != nil:
		return c, fits(r, c)
	case r.Point != hooks.PointRequest:
		return nil, errChange
	case len(c.Set)+len(c.Remove) == 0:
		return nil, nil //nolint:nilnil // there is none
	case len(c.Set)+len(c.Remove) > hooks.MaxChanges:
		return nil, errBounds
	}
	out := &hooks.Change{Set: make(map[string]string, len(c.Set))}
	seen, size := make(map[string]bool), 0
	field := func(k string) (string, error) {
		name := http.CanonicalHeaderKey(k)
		switch {
		case !token(k):
			return "", errName
		case seen[name]:
			return "", errTwice
		}
		seen[name], size = true, size+len(k)
		if slices.Contains(reserved, name) || name != "Proxy-Authorization" && slices.ContainsFunc(prefixes, func(s string) bool { return strings.HasPrefix(name, s) }) {
			return "", &fieldError{"it changed", name, "which no hook can"}
		}
		return name, nil
	}
	for k, v := range c.Set {
		name, err := field(k)
		switch {
		case err != nil:
			return nil, err
		case slices.Contains(credentials, name):
			return nil, &fieldError{"it set", name, "which can only be removed"}
		case printable(v) != v || strings.Trim(v, " ") != v:
			return nil, errValue
		}
		out.Set[name], size = v, size+len(v)
	}
	for _, k := range c.Remove {
		name, err := field(k)
		if err != nil {
			return nil, err
		}
		out.Remove = append(out.Remove, name)
	}
	if size > hooks.MaxChange {
		return nil, errBounds
	}
	return out, nil
}

// effect returns what a change makes another of a header; nil for nothing.
func effect(h http.Header, c *hooks.Change) *hooks.Change {
	if c == nil {
		return nil
	}
	out := &hooks.Change{Set: map[string]string{}}
	for name, v := range c.Set {
		if is := h[name]; len(is) != 1 || is[0] != v {
			out.Set[name] = v
		}
	}
	for _, name := range c.Remove {
		if len(h[name]) > 0 {
			out.Remove = append(out.Remove, name)
		}
	}
	if len(out.Set)+len(out.Remove) == 0 {
		return nil
	}
	return out
}

// wish is what a hook wants of a field.
type wish struct {
	hook, value string
	remove      bool
}

// wishes are what hooks want of a request's fields, by their names.
type wishes map[string]wish

// add notes what one hook wants. other is the hook that wants something else of a
// field, "" if there is none.
func (w *wishes) add(hook string, c *hooks.Change) (other, field string) {
	if *w == nil {
		*w = wishes{}
	}
	want := func(name string, x wish) {
		if was, ok := (*w)[name]; ok && (was.value != x.value || was.remove != x.remove) {
			if other == "" || name < field { // the same one each time
				other, field = was.hook, name
			}
		} else if !ok {
			(*w)[name] = x
		}
	}
	for name, v := range c.Set {
		want(name, wish{hook, v, false})
	}
	for _, name := range c.Remove {
		want(name, wish{hook, "", true})
	}
	return other, field
}

// change is what they make of a header; nil for nothing.
func (w wishes) change(h http.Header) *hooks.Change {
	if len(w) == 0 {
		return nil
	}
	c := &hooks.Change{Set: map[string]string{}}
	for name, x := range w {
		if x.remove {
			c.Remove = append(c.Remove, name)
		} else {
			c.Set[name] = x.value
		}
	}
	slices.Sort(c.Remove)
	return effect(h, c)
}

// fields are those that a change is about.
func fields(c *hooks.Change) *hooks.Fields {
	if c == nil {
		return nil
	}
	return &hooks.Fields{Set: slices.Sorted(maps.Keys(c.Set)), Removed: slices.Sorted(slices.Values(c.Remove))}
}
