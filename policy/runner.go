package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Runner is who a hook asks: an *Expression, a *Webhook, a *Service, a *Module or
// a *Program. Its values are not changed.
type Runner interface {
	kind() string // its key in a hook, one of runnerKinds
	text() string // its keys and values in a hook, as YAML
	wire() any    // what of it travels, as JSON

	// located returns it with absolute paths; ok is false if path, which makes
	// them, can't.
	located(path func(string) (string, bool)) (r Runner, given string, ok bool)
	// variable is one of the host whose value the pen must not have, "" for none.
	variable() string
	// outside says what of it is outside a higher layer's limits, and which, nil for
	// nothing.
	outside(l *Limits) (what string, limit *Source)
	// loosens says what of it weakens the isolation, in words that follow the
	// hook's name, "" for nothing.
	loosens() string
}

// runnerKind is how one kind of Runner is read. A new one is an entry in
// runnerKinds and in the schema.
type runnerKind struct {
	key  string
	more []string // further keys, that have a meaning for it only
	// read makes it of the values of its keys; nil: it has said what is wrong.
	read func(*parser, *hookNode) Runner
	// believe makes it of what travelled, checked like a file.
	believe func(raw []byte, hook Source) (Runner, error)
}

func runnerKinds() []runnerKind {
	return []runnerKind{
		{"cel", nil, readExpression, believeExpression},
		{"http", append([]string{"key"}, clientCertKeys()...), readWebhook, believeWebhook},
		{"grpc", append([]string{"protocol", "addresses"}, clientCertKeys()...), readService, believeService},
		{"wasm", []string{"sha256", "stateful"}, readModule, believeModule},
		programKind(false),
		programKind(true),
	}
}

// hookNode is a hook in a file: itself, and its runner's keys and their values.
type hookNode struct {
	*yaml.Node
	keys, values map[string]*yaml.Node
}

// runnerFields are the keys of all runners, whose values are kept in to.
func runnerFields(to map[string]*yaml.Node) (out []field) {
	for _, k := range runnerKinds() {
		for _, key := range append([]string{k.key}, k.more...) {
			f := field{name: key}
			if k.read != nil {
				f.read = func(n *yaml.Node) { to[key] = n }
			}
			if find(out, key) == nil {
				out = append(out, f)
			}
		}
	}
	return out
}

// runner reads who a hook asks, nil if something is wrong.
func (p *parser) runner(h *hookNode, hint string) Runner {
	var one *runnerKind
	var words []string
	for _, k := range runnerKinds() {
		if k.read == nil {
			continue
		}
		words = append(words, k.key)
		switch {
		case h.keys[k.key] == nil:
		case one != nil:
			p.fail(h.keys[k.key], "write two hooks", "the hook has both %s and %s", one.key, k.key)
			return nil
		default:
			one = &k
		}
	}
	if one == nil {
		last := len(words) - 1
		p.fail(h.Node, hint, "the hook has neither %s nor %s", strings.Join(words[:last], ", "), words[last])
		return nil
	}
	for key := range h.values {
		if key != one.key && !slices.Contains(one.more, key) {
			p.fail(h.keys[key], "remove it", "%s has no meaning for %s", key, one.key)
			return nil
		}
	}
	return one.read(p, h)
}

// wireRunner is a runner as it travels: one kind, and what it is.
type wireRunner map[string]json.RawMessage

func wireOf(r Runner) (wireRunner, error) {
	raw, err := json.Marshal(r.wire())
	return wireRunner{r.kind(): raw}, err
}

func (w wireRunner) runner(hook Source) (Runner, error) {
	for _, k := range runnerKinds() {
		if raw, ok := w[k.key]; ok && k.believe != nil && len(w) == 1 {
			return k.believe(raw, hook)
		}
	}
	return nil, errors.New("read hook: there is nothing to ask")
}

// inside is for runners that are nowhere but here: no file, no key, no place.
type inside struct{}

func (inside) variable() string                  { return "" }
func (inside) outside(*Limits) (string, *Source) { return "", nil }
func (inside) loosens() string                   { return "" }

// Expression is the cel: of a hook.
type Expression struct {
	inside
	Text string

	at   Source     // where it stands
	asks hooks.Hook // nil: nobody has compiled it
}

func readExpression(p *parser, h *hookNode) Runner {
	w := p.whenOf(h.values["cel"], "cel")
	if w == nil {
		return nil
	}
	return &Expression{Text: w.text, at: w.at}
}

func believeExpression(raw []byte, hook Source) (Runner, error) {
	var w wireWhen
	if err := strictJSON(raw, &w); err != nil {
		return nil, err
	}
	c, err := w.condition(hook)
	if err != nil {
		return nil, err
	}
	return &Expression{Text: c.text, at: c.at}, nil
}

func (*Expression) kind() string   { return "cel" }
func (e *Expression) text() string { return "cel: " + quoteYAML(e.Text) }
func (e *Expression) wire() any    { return &wireWhen{e.Text, e.at.Line, e.at.Column} }

func (e *Expression) located(func(string) (string, bool)) (Runner, string, bool) { return e, "", true }

// compileHooks returns copies of the hooks with their expressions compiled.
func compileHooks(list []Hook, lang hooks.Language, errs *ErrorList) []Hook {
	out := slices.Clone(list)
	for i := range out {
		e, ok := out[i].Asks.(*Expression)
		if !ok {
			continue
		}
		own := *e
		var err error
		if own.asks, err = lang.CompileHook(e.Text, out[i].Points()...); err != nil {
			own.asks = nil
			errs.expression(e.at, "cel", err)
		}
		out[i].Asks = &own
	}
	return out
}

// hookVariables keeps what the hooks' runners are known by out of the pen.
func (m *merge) hookVariables() {
	for _, h := range m.d.Hooks {
		name := h.Asks.variable()
		for _, p := range m.d.Environment.Pass {
			if name != "" && p.Pattern == name {
				m.errs.add(p.From, "remove it: who has the key can answer for the hook", "%s is the key of hook %s (%s), so its value can't be passed to the pen", p.Pattern, h.Name, h.From.Ref())
			}
		}
	}
}

// boundHooks holds who hooks of a lower layer ask within a higher layer's limits.
func (m *merge) boundHooks(l *Limits, low *File) {
	for _, h := range low.hooks {
		if what, limit := h.Asks.outside(l); limit != nil {
			m.outside(h.From, *limit, "the %s of hook %s is outside limits.egress", what, h.Name)
		}
	}
}

// locateHooks makes the paths in a file's hooks absolute.
func locateHooks(list []Hook, path func(string) (string, bool), errs *ErrorList) []Hook {
	out := slices.Clone(list)
	for i := range out {
		r, given, ok := out[i].Asks.located(path)
		if !ok {
			errs.add(out[i].From, "set HOME, or write the absolute path", "path %s: HOME is not set", quote(given))
			continue
		}
		out[i].Asks = r
	}
	return out
}
