package policy

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Program is the exec: or exec_once: of a hook: a program that is executed outside
// of the pen, in a cage of its own.
type Program struct {
	inside
	Argv    []string // the program, by name or absolute path, and its arguments
	Once    bool     // a process for each question
	Network bool     // it has the host's network
}

// onceConcurrency is how many processes a hook has at once that has one for each
// question, if it says nothing else.
const onceConcurrency = 16

// Concurrent is how many questions the hook is asked at once, 0 for the default of
// who asks.
func (h *Hook) Concurrent() int {
	if g, ok := h.Asks.(*Program); ok && g.Once && h.Concurrency == 0 {
		return onceConcurrency
	}
	return h.Concurrency
}

func programKind(once bool) runnerKind {
	p := Program{Once: once}
	return runnerKind{p.kind(), []string{"network"}, func(p *parser, h *hookNode) Runner { return readProgram(p, h, once) },
		func(raw []byte, hook Source) (Runner, error) { return believeProgram(raw, hook, once) }}
}

// readProgram reads exec: or exec_once:, and network:, of a hook.
func readProgram(p *parser, h *hookNode, once bool) Runner {
	out := &Program{Once: once}
	key := out.kind()
	n := h.values[key]
	p.list(n, key, func(c *yaml.Node) {
		if v, ok := p.text(c, "an entry of "+key); ok {
			out.Argv = append(out.Argv, v)
		}
	})
	switch {
	case p.lay == System:
		// Who answers would be a process of the caller's.
		p.fail(n, "write it into the user's file", "a hook of the system's policy can't be a process yet")
	case !mayCommand(p.lay):
		p.fail(n, "declare the hook in your own policy", "a project's policy can't have a command executed on the host")
	case !validCommand(relative(out.Argv)):
		p.fail(n, "for example exec: [python3, ~/.config/penstock/route.py]", "%s is not a program, by name or path, and its arguments", key)
	}
	if v := h.values["network"]; v != nil {
		var ok bool
		if out.Network, ok = p.boolean(v, "network"); ok && !out.Network {
			p.fail(v, "leave it out", "network: false says nothing")
		}
	}
	return out
}

// isRelative says whether an argument is a path that means something else elsewhere.
func isRelative(a string) bool {
	return strings.HasPrefix(a, "./") || strings.HasPrefix(a, "../") || strings.HasPrefix(a, "~/")
}

// relative takes a program's path for one that will be absolute.
func relative(argv []string) []string {
	if len(argv) == 0 || !isRelative(argv[0]) {
		return argv
	}
	return append([]string{"/"}, argv[1:]...)
}

func (g *Program) kind() string {
	if g.Once {
		return "exec_once"
	}
	return "exec"
}

func (g *Program) text() string {
	argv := make([]string, len(g.Argv))
	for i, a := range g.Argv {
		argv[i] = quoteYAML(a)
	}
	t := g.kind() + ": [" + strings.Join(argv, ", ") + "]"
	if g.Network {
		t += ", network: true"
	}
	return t
}

func (g *Program) located(path func(string) (string, bool)) (Runner, string, bool) {
	own := *g
	own.Argv = slices.Clone(g.Argv)
	for i, a := range own.Argv {
		if !isRelative(a) {
			continue
		}
		var ok bool
		if own.Argv[i], ok = path(a); !ok {
			return g, a, false
		}
	}
	return &own, "", true
}

func (g *Program) loosens() string {
	if g.Network {
		return "has the host's network: what it is told about the pen's requests it can tell others"
	}
	return ""
}

// wireProgram is a program as it travels.
type wireProgram struct {
	Argv    []string `json:"argv"`
	Network bool     `json:"network,omitempty"`
}

func (g *Program) wire() any { return &wireProgram{g.Argv, g.Network} }

func believeProgram(raw []byte, hook Source, once bool) (Runner, error) {
	var w wireProgram
	if err := strictJSON(raw, &w); err != nil {
		return nil, err
	}
	if !validCommand(w.Argv) || !mayCommand(hook.Layer) || hook.Layer == System || filepath.IsAbs(w.Argv[0]) && !plainPath(w.Argv[0]) {
		return nil, errors.New("read hook: it is no program that can be asked")
	}
	return &Program{Argv: w.Argv, Once: once, Network: w.Network}, nil
}
