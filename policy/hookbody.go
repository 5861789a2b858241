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
	for _, key := range []string{"body", "over", "encoded", "max_body", "overlap"} {
		if n := keys[key]; n != nil && !h.bodied() {
			p.fail(n, "remove it, or add request_body, response_body or websocket to on", "%s has no meaning for a hook that is asked about no bodies", key)
			return
		}
	}
	if n := keys["encoded"]; n != nil && !slices.ContainsFunc(h.Points(), func(p hooks.Point) bool { return p.Bodied() && !p.Spoken() }) {
		p.fail(n, "remove it, or add request_body or response_body to on", "encoded has no meaning for a hook that is asked about messages only: they are not compressed")
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
	return t
}

// wireInspect is hooks.Inspect as it travels.
type wireInspect struct {
	Stream  bool  `json:"stream,omitempty"`
	Overlap int   `json:"overlap,omitempty"`
	Max     int64 `json:"max,omitempty"`
	Over    bool  `json:"over,omitempty"`
	Raw     bool  `json:"raw,omitempty"`
}

// inspect checks like a file.
func (w wireInspect) inspect(bodied bool) (hooks.Inspect, error) {
	i := hooks.Inspect(w)
	if i != (hooks.Inspect{}) && !bodied || i.Max < 0 || i.Overlap < 0 || i.Overlap > hooks.MaxPart || !i.Stream && (i.Overlap > 0 || i.Max > hooks.MaxBody) {
		return i, errors.New("read hook: its bounds of bodies are out of theirs")
	}
	return i, nil
}
