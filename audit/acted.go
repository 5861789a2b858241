package audit

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Asked is a hook that was asked and what it said. Its strings are to be escaped like
// those of a Record.
type Asked struct {
	Hook string `json:"hook"`
	// Point is when it was asked, "" for request.
	Point    string `json:"point,omitempty"`
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
	// Set and Removed are names of fields of a request's header.
	Set     []string `json:"set,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Body    *Rebody  `json:"body,omitempty"`
}

// Rebody is what a hook has made of a body: lengths in bytes, and the hash of what
// it has become.
type Rebody struct {
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	SHA256 string `json:"sha256"`
}

// changed says whether the hook has made something else of what it was asked about.
func (a *Asked) changed() bool { return len(a.Set) > 0 || len(a.Removed) > 0 || a.Body != nil }

// Changes says what hooks have changed of a request's header and of bodies.
func Changes(list []Asked) string {
	return words(list, func(a *Asked) bool { return a.changed() })
}

// Acted returns what hooks have done to a flow: all that did not just say next, in their
// order. Those that are asked again about what was changed say it again, which is left out.
func Acted(list []Asked) (out []Asked) {
	for _, a := range list {
		if (a.changed() || a.Decision != hooks.Next.String()) && !slices.ContainsFunc(out, func(b Asked) bool { return reflect.DeepEqual(a, b) }) {
			out = append(out, a)
		}
	}
	return out
}

// ActedText says in one line what hooks have done to a flow.
func ActedText(list []Asked) string {
	return words(Acted(list), func(*Asked) bool { return true })
}

func words(list []Asked, of func(*Asked) bool) string {
	var out []string
	for i := range list {
		h := &list[i]
		if !of(h) {
			continue
		}
		if len(h.Set) > 0 {
			out = append(out, strings.Join(h.Set, ", ")+" set by hook "+h.Hook)
		}
		if len(h.Removed) > 0 {
			out = append(out, strings.Join(h.Removed, ", ")+" removed by hook "+h.Hook)
		}
		if b := h.Body; b != nil {
			out = append(out, fmt.Sprintf("body changed by hook %s: %d bytes to %d", h.Hook, b.Before, b.After))
		}
		if s := h.did(); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "; ")
}

// did says what a hook's decision was, "" for next.
func (a *Asked) did() string {
	why := ""
	if a.Reason != "" {
		why = ": " + a.Reason
	}
	switch a.Decision {
	case hooks.Next.String(), "":
		return ""
	case hooks.Route.String(): // the reason begins with where to
		return "routed by hook " + a.Hook + why
	case hooks.Ask.String():
		return "left to a person by hook " + a.Hook + why
	case hooks.Reply.String():
		return "answered by hook " + a.Hook
	case hooks.Deny.String():
		return "denied by hook " + a.Hook + a.at() + why
	}
	return "hook " + a.Hook + " " + a.Decision + a.at() + why
}

func (a *Asked) at() string { return " at " + cmp.Or(a.Point, hooks.PointRequest.String()) }
