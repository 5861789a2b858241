package policy

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Module is the wasm: of a hook: a WebAssembly module that is asked. Whoever starts
// the session reads it, once and before the pen is there.
type Module struct {
	inside
	Path     string // absolute once the policy is resolved
	SHA256   string // of its content in lower-case hexadecimal, "" if it is not said
	Stateful bool   // what it remembers decides
}

// readModule reads wasm:, sha256: and stateful: of a hook.
func readModule(p *parser, h *hookNode) Runner {
	n := h.values["wasm"]
	m := &Module{}
	var ok bool
	if m.Path, ok = p.text(n, "wasm"); !ok {
		return nil
	}
	switch {
	case m.Path == "" || strings.ContainsAny(m.Path, "\x00\n\r"):
		p.fail(n, "for example wasm: hooks/dlp.wasm", "wasm is not the path of a file")
		return nil
	case p.lay == System:
		// The caller reads it, and could hand over another one.
		p.fail(n, "write it into the user's file", "a hook of the system's policy can't be a module yet")
		return nil
	}
	if v := h.values["sha256"]; v != nil {
		if m.SHA256, ok = p.sha256(v); !ok {
			return nil
		}
	} else if p.lay == Project {
		p.fail(h.Node, "add sha256: and what sha256sum says of the file, so that who trusts this file trusts that one", "the hook's module can change after this file was trusted")
		return nil
	}
	if v := h.values["stateful"]; v != nil {
		if m.Stateful, ok = p.boolean(v, "stateful"); !ok {
			return nil
		}
	}
	return m
}

// sha256 reads the hash of a file.
func (p *parser) sha256(n *yaml.Node) (string, bool) {
	s, ok := p.text(n, "sha256")
	if ok && !isHash(s) {
		p.fail(n, "write what sha256sum says of the file", "sha256 %s is not 64 hexadecimal digits in lower case", quote(s))
		return "", false
	}
	return s, ok
}

// wireModule is a module as it travels.
type wireModule struct {
	Path     string `json:"path"`
	SHA256   string `json:"sha256,omitempty"`
	Stateful bool   `json:"stateful,omitempty"`
}

func (*Module) kind() string { return "wasm" }

func (m *Module) text() string {
	t := "wasm: " + quoteYAML(m.Path)
	if m.SHA256 != "" {
		t += ", sha256: " + quoteYAML(m.SHA256)
	}
	if m.Stateful {
		t += ", stateful: true"
	}
	return t
}

func (m *Module) wire() any { return &wireModule{m.Path, m.SHA256, m.Stateful} }

func (m *Module) located(path func(string) (string, bool)) (Runner, string, bool) {
	own, ok := *m, false
	own.Path, ok = path(m.Path)
	return &own, m.Path, ok
}

// believeModule checks what travelled.
func believeModule(raw []byte, _ Source) (Runner, error) {
	var w wireModule
	if err := strictJSON(raw, &w); err != nil {
		return nil, err
	}
	if w.Path == "" || strings.ContainsAny(w.Path, "\x00\n\r") || w.SHA256 != "" && !isHash(w.SHA256) {
		return nil, errors.New("read hook: it has no module")
	}
	return &Module{Path: w.Path, SHA256: w.SHA256, Stateful: w.Stateful}, nil
}
