package policy

import (
	"errors"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// bodyFields are the keys of a hook that say how it is asked about bodies.
func (p *parser) bodyFields(i *hooks.Inspect) []field {
	one := func(what string, no, yes string, to *bool) field {
		return field{what, func(n *yaml.Node) {
			s, ok := p.text(n, what)
			if ok && s != no && s != yes {
				p.fail(n, "write "+no+" or "+yes, "%s can't be %s", what, quote(s))
			}
			*to = s == yes
		}}
	}
	return []field{
		one("body", "whole", "stream", &i.Stream),
		one("over", "deny", "next", &i.Over),
		one("encoded", "deny", "raw", &i.Raw),
		one("change", "none", "body", &i.Change),
		{"max_body", func(n *yaml.Node) { i.Max, _ = p.size(n, "max_body") }},
		{"overlap", func(n *yaml.Node) {
			v, ok := p.size(n, "overlap")
			if i.Overlap = int(min(v, hooks.MaxPart)); ok && v > hooks.MaxPart {
				p.fail(n, "at most 64KiB", "an overlap of %d bytes is too long", v)
			}
		}},
	}
}

// checkBody says what of a hook's keys about bodies means nothing.
func (p *parser) checkBody(h *Hook, keys map[string]*yaml.Node) {
	for _, key := range []string{"body", "over", "encoded", "max_body", "overlap", "change"} {
		if n := keys[key]; n != nil && !h.bodied() {
			p.fail(n, "remove it, or add request_body, response_body or websocket to on", "%s has no meaning for a hook that is asked about no bodies", key)
			return
		}
	}
	if n := keys["encoded"]; n != nil && !slices.ContainsFunc(h.Points(), changeable) {
		p.fail(n, "remove it, or add request_body or response_body to on", "encoded has no meaning for a hook that is asked about messages only: they are not compressed")
	}
	if h.Inspect.Change {
		p.checkChange(h, keys["change"])
	}
	if n := keys["overlap"]; n != nil && !h.Inspect.Stream {
		p.fail(n, "add body: stream", "overlap has no meaning for a body that is asked about as a whole")
	}
	if n := keys["max_body"]; n != nil && !h.Inspect.Stream && h.Inspect.Max > hooks.MaxBody {
		p.fail(n, "at most 8MiB, or add body: stream", "max_body is too large for bodies that are asked about as a whole")
	}
	if n := keys["over"]; n != nil && h.Inspect.Stream && h.Inspect.Max == 0 {
		p.fail(n, "add max_body", "over has no meaning without max_body: a stream has no bound")
	}
}

// checkChange says why a hook can't change bodies.
func (p *parser) checkChange(h *Hook, n *yaml.Node) {
	switch i := h.Inspect; {
	case !slices.ContainsFunc(h.Points(), changeable):
		p.fail(n, "remove it, or add request_body or response_body to on", "change: body has no meaning for a hook that is asked about no whole bodies")
	case h.Asks != nil && !changes(h.Asks):
		p.fail(n, "ask a process, a webhook, a module or a service in Penstock's own protocol (protocol: penstock)", "who is asked by %s can't change a body", h.Asks.kind())
	case i.Stream:
		p.fail(n, "remove body: stream", "change: body can't be of a body that is asked about in parts")
	case i.Over:
		p.fail(n, "remove over: next", "change: body can't be of a body of which the hook sees the beginning only")
	case i.Raw:
		p.fail(n, "remove encoded: raw", "change: body can't be of a body that is not decoded")
	}
}

// changeable says whether a hook can make another body at the point.
func changeable(p hooks.Point) bool { return p.Bodied() && !p.Spoken() }

// changes says whether who is asked can make something else of what it is asked about.
func changes(r Runner) bool {
	switch r := r.(type) {
	case *Expression:
		return false
	case *Service:
		return r.Own
	}
	return true
}

// bodied says whether the hook is asked about bodies or messages.
func (h *Hook) bodied() bool { return slices.ContainsFunc(h.Points(), hooks.Point.Bodied) }

// bodyText writes the keys about bodies, each after a comma.
func bodyText(i hooks.Inspect) (t string) {
	if i.Stream {
		t += ", body: stream"
	}
	if i.Overlap != 0 {
		t += ", overlap: " + sizeText(int64(i.Overlap))
	}
	if i.Max != 0 {
		t += ", max_body: " + sizeText(i.Max)
	}
	if i.Over {
		t += ", over: next"
	}
	if i.Raw {
		t += ", encoded: raw"
	}
	if i.Change {
		t += ", change: body"
	}
	return t
}

// wireInspect is hooks.Inspect as it travels.
type wireInspect struct {
	Stream  bool  `json:"stream,omitempty"`
	Overlap int   `json:"overlap,omitempty"`
	Max     int64 `json:"max,omitempty"`
	Over    bool  `json:"over,omitempty"`
	Raw     bool  `json:"raw,omitempty"`
	Change  bool  `json:"change,omitempty"`
}

// inspect checks like a file.
func (w wireInspect) inspect(bodied bool) (hooks.Inspect, error) {
	i := hooks.Inspect(w)
	if i != (hooks.Inspect{}) && !bodied || !i.Valid() {
		return i, errors.New("read hook: its bounds of bodies are out of theirs")
	}
	return i, nil
}
