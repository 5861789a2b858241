//go:build linux || darwin

package proxyrole

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/audit"
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

// How long the hooks have, all together, for a session's start, within what the
// supervisor waits for it, and for its end, within what it waits for that.
const (
	startTime = 20 * time.Second
	endTime   = 5 * time.Second
)

// starts asks the hooks whether the session may start. The record gets their word,
// whatever the supervisor put there.
func (e *engine) starts(ev *audit.SessionStart) hooks.Decision {
	run := &hooks.Run{Command: ev.Argv, Dir: ev.Dir, User: ev.User, Agent: ev.Agent, Tier: ev.Tier, Mode: ev.Mode}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var d hooks.Decision
	d, ev.Hooks = e.proxy.AskSession(ctx, hooks.PointSessionStart, run)
	e.finishing.Lock()
	defer e.finishing.Unlock()
	e.run, e.refused = run, e.refused || d.Action != hooks.Next
	return d
}

// further asks the hooks about a further command of the session: who may refuse the
// first by its name may refuse each.
func (e *engine) further(ev *audit.Exec) hooks.Decision {
	e.finishing.Lock()
	started := e.run
	e.finishing.Unlock()
	ev.Hooks = nil
	if started == nil {
		return hooks.Decision{Action: hooks.Deny, Reason: "the session has not started"}
	}
	run := *started
	run.Command, run.Dir = ev.Argv, ev.Dir
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var d hooks.Decision
	d, ev.Hooks = e.proxy.AskSession(ctx, hooks.PointSessionStart, &run)
	return d
}

// admitted says whether a supervised session may be served: its caller might leave out
// to ask the administrator's hooks, or not listen to them.
func (e *engine) admitted() error {
	e.finishing.Lock()
	defer e.finishing.Unlock()
	for _, h := range e.cfg.Policy.Hooks() {
		if slices.Contains(h.Points(), hooks.PointSessionStart) && (e.run == nil || e.refused) {
			return fmt.Errorf("serve the pen: hook %s was not asked whether the session may start, or denied it", h.Name)
		}
	}
	return nil
}

// ends tells the hooks of the end of a session of whose start they were asked. The
// caller holds finishing.
func (e *engine) ends(ev *audit.SessionEnd) {
	ev.Hooks = nil
	if e.run == nil {
		return
	}
	run := *e.run
	run.End = &hooks.End{ExitCode: ev.ExitCode, Signal: ev.Signal, Reason: ev.Reason, Duration: ev.Duration}
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	_, ev.Hooks = e.proxy.AskSession(ctx, hooks.PointSessionEnd, &run)
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
