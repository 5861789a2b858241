package proxyrole

import (
	"context"
	"fmt"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/wasm"
	"github.com/penstock/penstock/policy"
)

// hookModules makes what asks the policy's modules of what was donated. A module that
// can't be asked is an error now and not with the first request.
func (e *engine) hookModules() (map[string]hooks.Hook, error) {
	out := map[string]hooks.Hook{}
	for _, h := range e.cfg.Policy.Hooks() {
		m, ok := h.Asks.(*policy.Module)
		if !ok {
			continue
		}
		asks, err := wasm.Load(context.Background(), wasm.Config{Name: h.Name, Timeout: h.Timeout, Stateful: m.Stateful}, e.cfg.HookModules[h.Name])
		if err != nil {
			return nil, fmt.Errorf("use the module of hook %s (%s): %s: %w", h.Name, h.From.Ref(), m.Path, err)
		}
		e.modules = append(e.modules, asks)
		out[h.Name] = asks
	}
	e.cfg.HookModules = nil
	return out, nil
}

// hookNotes tells the user of hooks that deny because they don't answer.
func hookNotes(list []chain.Stats) (notes []string) {
	for _, h := range list {
		if h.Failed > 0 {
			notes = append(notes, fmt.Sprintf("hook %s was asked %d times and gave no answer to %d of them, which were denied", h.Hook, h.Asked, h.Failed))
		}
	}
	return notes
}
