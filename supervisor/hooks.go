//go:build linux || darwin

package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
)

// hookKeys reads the keys of the policy's webhooks as the caller, whose they are.
// Unlike a secret of the pen's a key that is not there is an error: nothing would
// get out.
func (s *session) hookKeys() (map[string][]byte, error) {
	keys := map[string][]byte{}
	from := secretSource(context.Background(), &s.cfg.Host, s.cfg.DryRun, s.writable())
	for _, h := range s.cfg.Policy.Hooks() {
		w, ok := h.Asks.(*policy.Webhook)
		if !ok {
			continue
		}
		key, err := from.Key(&w.Key)
		if err != nil {
			return nil, fmt.Errorf("use the key of hook %s (%s): %w", h.Name, h.From.Ref(), err)
		}
		if len(key) == 0 {
			return nil, fmt.Errorf("use the key of hook %s (%s): %s is empty or not set", h.Name, h.From.Ref(), w.Key.Words())
		}
		keys[h.Name] = key
	}
	return keys, nil
}

// maxModule bounds one hook's module, in bytes; hooks/wasm takes no larger one, and
// importing it is for the proxy role only. All of them go into its configuration.
const (
	maxModule  = 8 << 20
	maxModules = 32 << 20
)

// hookModules reads the modules of the policy's hooks as the caller, whose they are,
// before the pen is there, and never again. What a tool in a pen can write it could
// have written in an earlier one: of that only what the policy's hash names is used.
func (s *session) hookModules() (map[string][]byte, error) {
	modules, all := map[string][]byte{}, 0
	for _, h := range s.cfg.Policy.Hooks() {
		m, ok := h.Asks.(*policy.Module)
		if !ok {
			continue
		}
		fail := func(hint, format string, args ...any) error {
			return &moduleError{fmt.Errorf("use the module of hook %s (%s): "+format, append([]any{h.Name, h.From.Ref()}, args...)...), hint}
		}
		b, err := readFile(m.Path, maxModule)
		if err != nil {
			return nil, fail("", "%w", err)
		}
		if all += len(b); all > maxModules {
			return nil, fail("use fewer or smaller ones", "all modules together have more than %d bytes", maxModules)
		}
		sum := sha256.Sum256(b)
		have := hex.EncodeToString(sum[:])
		switch {
		case m.SHA256 != "" && m.SHA256 != have:
			return nil, fail("look at what has changed; its sha256 is "+have, "%s has another content than the policy says", text.Escape(m.Path))
		case m.SHA256 == "":
			if dir := writableBy(m.Path, s.writable()); dir != "" {
				return nil, fail("add sha256: "+have+", or keep it elsewhere", "%s is in %s, where a tool in a pen can change it", text.Escape(m.Path), text.Escape(dir))
			}
		}
		modules[h.Name] = b
		s.modules = append(s.modules, audit.PolicyFile{Path: m.Path, Layer: h.From.Layer.String(), Hash: have})
	}
	return modules, nil
}

// moduleError is a module that can't be used.
type moduleError struct {
	error
	hint string
}

func (e *moduleError) Unwrap() error { return e.error }
func (e *moduleError) Hint() string  { return e.hint }
