package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Bounds of hooks.
const (
	maxHooks       = 32 // of a policy, all layers
	maxHookTime    = 30 * time.Second
	maxConcurrency = 1024
)

// Hook is one entry of hooks: who is asked about requests that the rules allow.
// It can only deny or answer, never allow.
type Hook struct {
	Name        string
	On          []string       // names of the points at which it is asked, see Points
	Hosts       []LimitPattern // nil: any
	Asks        Runner         // who is asked
	Inspect     hooks.Inspect  // how it is asked about bodies
	Timeout     time.Duration  // 0: the default
	Concurrency int            // 0: the default
	From        Source
}

// Compiled returns the expression, nil before Policy.CompileConditions and for
// who else is asked.
func (h *Hook) Compiled() hooks.Hook {
	if e, ok := h.Asks.(*Expression); ok {
		return e.asks
	}
	return nil
}

// Client is what who is asked over TLS is shown, the zero value for nothing.
func (h *Hook) Client() ClientCert {
	switch r := h.Asks.(type) {
	case *Webhook:
		return r.Client
	case *Service:
		return r.Client
	}
	return ClientCert{}
}

// About says whether the hook is asked about a canonical target. What is
// narrower than everything is about names and ranges that it names; like a deny,
// a wildcard covers the host's own name.
func (h *Hook) About(t *hooks.Target) bool {
	if h.Hosts == nil {
		return true
	}
	for _, p := range h.Hosts {
		r := Rule{Deny: true, host: p.host, cidr: p.cidr}
		if r.matchHost(t) {
			return true
		}
	}
	return false
}

// Points returns when the hook is asked.
func (h *Hook) Points() []hooks.Point {
	out := make([]hooks.Point, 0, len(h.On))
	for _, s := range h.On {
		if p, ok := hooks.PointNamed(s); ok {
			out = append(out, p)
		}
	}
	return out
}

// Hooks returns the hooks in the order in which they are asked: higher layers
// first.
func (p *Policy) Hooks() []Hook { return p.d.Hooks }

// hooks reads the list of hooks.
func (p *parser) hooks(f *File, n *yaml.Node) {
	first := map[string]int{}
	p.list(n, "hooks", func(n *yaml.Node) {
		h := Hook{From: p.at(n)}
		node := &hookNode{Node: n, values: map[string]*yaml.Node{}}
		before := len(p.errs.Errors)
		node.keys = p.fields(n, "a hook", append([]field{
			{"name", func(n *yaml.Node) {
				var ok bool
				if h.Name, ok = p.text(n, "name"); ok && !validHookName(h.Name) {
					p.fail(n, "lower-case letters, digits and hyphens, at most 40, beginning with a letter", "%s can't be the name of a hook", quote(h.Name))
				}
			}},
			{"on", func(n *yaml.Node) {
				var v Value[[]string]
				p.words(n, "on", hooks.PointNames(), &v)
				if h.On = v.V; v.Set && len(v.V) == 0 {
					p.fail(n, "write on: [request]", "on is empty: the hook would never be asked")
				}
			}},
			{"hosts", func(n *yaml.Node) {
				h.Hosts = p.patterns(n, "hosts")
				if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
					p.fail(n, "leave it out for every host", "hosts is empty: the hook would never be asked")
				}
			}},
			{"timeout", func(n *yaml.Node) {
				v, ok := p.duration(n, "timeout")
				if h.Timeout = v; ok && v > maxHookTime {
					p.fail(n, "at most "+maxHookTime.String(), "a timeout of %s is too long: the request waits", v)
				}
			}},
			{"concurrency", func(n *yaml.Node) {
				v, _ := p.count(n, "concurrency", maxConcurrency)
				h.Concurrency = int(v)
			}},
		}, append(p.bodyFields(&h.Inspect), runnerFields(node.values)...)...))
		if node.keys == nil || len(p.errs.Errors) > before {
			return
		}
		const example = "for example {name: no-tokens, on: [request], cel: 'request.query.contains(\"token=\") ? \"deny\" : \"next\"'}"
		for _, key := range []string{"name", "on"} {
			if node.keys[key] == nil {
				p.fail(n, example, "the hook has no %s", key)
			}
		}
		h.Asks = p.runner(node, example)
		p.checkBody(&h, node.keys)
		if n := node.keys["hosts"]; n != nil && !h.targeted() && len(h.On) > 0 {
			p.fail(n, "remove it", "hosts has no meaning for a hook that is asked about sessions only")
		}
		if n := node.keys["hosts"]; n != nil && h.named() && len(h.Hosts) > 0 && !slices.ContainsFunc(h.Hosts, func(p LimitPattern) bool { return !p.cidr.IsValid() }) {
			p.fail(n, "add names, or leave it out for every name", "hosts has address ranges only, and the hook is asked about names: it would never be asked")
		}
		if at := misplaced(h.Asks, h.On); at != "" {
			p.fail(node.keys["on"], "write on: [request], or ask a service in Penstock's own protocol (protocol: penstock)", "who is asked by %s can't be asked at %s", h.Asks.kind(), at)
		}
		if line, ok := first[h.Name]; ok && h.Name != "" {
			p.fail(n, "give it another name", "hook %s is here twice, first at line %d", h.Name, line)
		}
		if len(p.errs.Errors) > before {
			return
		}
		first[h.Name] = n.Line
		f.hooks = append(f.hooks, h)
	})
}

func validHookName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '-')) {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

// hookText writes a hook on one line of YAML.
func hookText(h *Hook) string {
	t := "{name: " + yamlText(h.Name) + ", on: [" + strings.Join(h.On, ", ") + "]"
	if h.Hosts != nil {
		hosts := make([]string, len(h.Hosts))
		for i, p := range h.Hosts {
			hosts[i] = quotedIf(p.String())
		}
		t += ", hosts: [" + strings.Join(hosts, ", ") + "]"
	}
	t += ", " + h.Asks.text() + bodyText(h.Inspect)
	if h.Timeout != 0 {
		t += ", timeout: " + timeText(h.Timeout)
	}
	if h.Concurrency != 0 {
		t += ", concurrency: " + strconv.Itoa(h.Concurrency)
	}
	return t + "}"
}

// wireHook is a hook as it travels.
type wireHook struct {
	Name        string         `json:"name"`
	On          []string       `json:"on"`
	Hosts       []LimitPattern `json:"hosts,omitempty"`
	Asks        wireRunner     `json:"asks"`
	Inspect     wireInspect    `json:"inspect,omitzero"`
	Timeout     time.Duration  `json:"timeout_ns,omitempty"`
	Concurrency int            `json:"concurrency,omitempty"`
	From        Source         `json:"from"`
}

// MarshalJSON writes the hook as it was written in its file.
func (h Hook) MarshalJSON() ([]byte, error) {
	asks, err := wireOf(h.Asks)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireHook{h.Name, h.On, h.Hosts, asks, wireInspect(h.Inspect), h.Timeout, h.Concurrency, h.From})
}

// UnmarshalJSON reads what MarshalJSON wrote and checks it like a file.
func (h *Hook) UnmarshalJSON(b []byte) error {
	var w wireHook
	if err := strictJSON(b, &w); err != nil {
		return err
	}
	on := slices.Clone(w.On)
	slices.Sort(on)
	switch {
	case !validHookName(w.Name):
		return errors.New("read hook: " + quote(w.Name) + " is not a name")
	case len(w.On) == 0 || len(slices.Compact(on)) != len(w.On) || len((&Hook{On: w.On}).Points()) != len(w.On):
		return errors.New("read hook " + w.Name + ": it is never asked")
	case w.Hosts != nil && len(w.Hosts) == 0:
		return errors.New("read hook " + w.Name + ": it is about no host")
	case w.Timeout < 0 || w.Timeout > maxHookTime || w.Concurrency < 0 || w.Concurrency > maxConcurrency:
		return errors.New("read hook " + w.Name + ": its limits are out of bounds")
	}
	asks, err := w.Asks.runner(w.From)
	if err != nil {
		return err
	}
	inspect, err := w.Inspect.inspect((&Hook{On: w.On}).bodied())
	if err != nil {
		return err
	}
	if inspect.Change && (!changes(asks) || !slices.ContainsFunc((&Hook{On: w.On}).Points(), changeable)) {
		return errors.New("read hook " + w.Name + ": it can't change a body")
	}
	if at := misplaced(asks, w.On); at != "" {
		return errors.New("read hook " + w.Name + ": it can't be asked at " + at)
	}
	*h = Hook{Name: w.Name, On: w.On, Hosts: w.Hosts, Asks: asks, Inspect: inspect, Timeout: w.Timeout, Concurrency: w.Concurrency, From: w.From}
	return nil
}

// hooks of all layers are asked, higher ones first. A name is one hook's: in the
// audit nobody's stands for somebody else's.
func (m *merge) hooks() {
	for _, f := range m.files {
		for _, h := range f.hooks {
			if i := slices.IndexFunc(m.d.Hooks, func(g Hook) bool { return g.Name == h.Name }); i >= 0 {
				m.errs.add(h.From, "give it another name", "hook %s is here and at %s", h.Name, m.d.Hooks[i].From.Ref())
			}
			m.d.Hooks = append(m.d.Hooks, h)
		}
	}
	if n := len(m.d.Hooks); n > maxHooks {
		m.errs.add(m.d.Hooks[maxHooks].From, "join some of them", "there are %d hooks, more than %d", n, maxHooks)
	}
	for i := range m.d.Hooks {
		h := &m.d.Hooks[i]
		if how := h.Asks.loosens(); how != "" {
			m.warn(h.From, true, "hook "+h.Name+" "+how)
		}
		for _, r := range m.d.Rules {
			if !r.Deny && r.Inspects() && r.speech == nil && r.matchMethod("POST") && slices.Contains(h.On, hooks.PointToolCall.String()) && h.meets(r) {
				m.warn(h.From, false, "hook "+h.Name+" does not see what tools are called by what "+r.Ref()+" allows, where there is no jsonrpc")
			}
			if !r.Deny && !r.Inspects() && h.targeted() && !h.named() && h.meets(r) && !slices.Contains(h.On, hooks.PointConnect.String()) {
				m.warn(h.From, false, "hook "+h.Name+" does not see what "+r.Ref()+" lets through unread")
			}
		}
	}
}

// targeted says whether the hook is asked about anything that goes to a target.
func (h *Hook) targeted() bool {
	return slices.ContainsFunc(h.Points(), func(p hooks.Point) bool { return !p.Sessional() })
}

// named says whether the hook is asked about names, and nothing else that goes to a
// target.
func (h *Hook) named() bool {
	at := slices.DeleteFunc(h.Points(), hooks.Point.Sessional)
	return len(at) > 0 && !slices.ContainsFunc(at, func(p hooks.Point) bool { return !p.Named() })
}

// meets says whether a rule may be about a target that the hook is about.
func (h *Hook) meets(r *Rule) bool {
	return h.Hosts == nil || slices.ContainsFunc(h.Hosts, func(p LimitPattern) bool {
		q := LimitPattern{host: r.host, cidr: r.cidr}
		return p.covers(q) || q.covers(p) || p.host.wild && p.host.name == ""
	})
}
