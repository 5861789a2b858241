package chain

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Defaults and bounds of an Entry.
const (
	DefaultTimeout     = 500 * time.Millisecond
	MaxTimeout         = 30 * time.Second
	DefaultConcurrency = 64
	MaxConcurrency     = 1024
)

// Entry is one hook with its limits. Zero limits are the defaults.
type Entry struct {
	Name string
	Rule string // "file:line" that it stands in
	Hook hooks.Hook
	// About says whether the hook is asked about a target; nil: about each.
	About       func(*hooks.Target) bool
	Timeout     time.Duration // for one decision, waiting for its turn included
	Concurrency int           // decisions at once
}

// Chain asks hooks in their order. It is safe for concurrent use; the nil Chain
// has no hooks.
type Chain struct{ links []*link }

// link is a hook with its state.
type link struct {
	Entry
	room    chan struct{} // one token for each decision that runs
	prompt  bool          // Decide ends by itself
	breaker breaker
	count   struct{ asked, denied, replied, failed atomic.Uint64 }
}

// New checks the entries and returns their chain.
func New(entries []Entry) (*Chain, error) {
	c := &Chain{}
	for _, e := range entries {
		switch {
		case e.Hook == nil:
			return nil, fmt.Errorf("make hook %s: there is nothing to ask", printable(e.Name))
		case e.Timeout < 0 || e.Timeout > MaxTimeout || e.Concurrency < 0 || e.Concurrency > MaxConcurrency:
			return nil, fmt.Errorf("make hook %s: its limits are out of bounds", printable(e.Name))
		}
		if e.Timeout == 0 {
			e.Timeout = DefaultTimeout
		}
		if e.Concurrency == 0 {
			e.Concurrency = DefaultConcurrency
		}
		_, prompt := e.Hook.(interface{ Prompt() })
		c.links = append(c.links, &link{Entry: e, prompt: prompt, room: make(chan struct{}, e.Concurrency)})
	}
	return c, nil
}

// Len returns the number of hooks.
func (c *Chain) Len() int {
	if c == nil {
		return 0
	}
	return len(c.links)
}

// Request asks the hooks about a request that the policy allows. The decision is
// Next when all of them say so; else it is the first other one, a Deny or a
// Reply, with a reason that names the hook. The trace has each hook that was
// asked.
func (c *Chain) Request(ctx context.Context, r *hooks.Request) (hooks.Decision, []hooks.Trace) {
	var trace []hooks.Trace
	if c == nil {
		return hooks.Decision{Action: hooks.Next}, nil
	}
	for _, l := range c.links {
		if l.About != nil && !l.About(&r.Target) {
			continue
		}
		start := time.Now()
		d, err := l.decide(ctx, r)
		t := hooks.Trace{Hook: l.Name, Decision: d.Action.String()}
		if err != nil {
			d, t.Decision = hooks.Decision{Reason: err.Error()}, "failed"
		}
		d.Reason = clean(d.Reason)
		t.Reason, t.Duration = d.Reason, time.Since(start)
		trace = append(trace, t)
		l.tally(d, err)
		if d.Action == hooks.Next {
			continue
		}
		d.Rule = l.Rule
		switch {
		case err != nil:
			d.Reason = "hook " + l.Name + " failed, which denies: " + d.Reason
		case d.Action == hooks.Reply:
			d.Reason = "answered by hook " + l.Name
		case d.Reason == "":
			d.Reason = "denied by hook " + l.Name
		default:
			d.Reason = "denied by hook " + l.Name + ": " + d.Reason
		}
		return d, trace
	}
	return hooks.Decision{Action: hooks.Next}, trace
}

func (l *link) tally(d hooks.Decision, err error) {
	l.count.asked.Add(1)
	switch {
	case err != nil:
		l.count.failed.Add(1)
	case d.Action == hooks.Reply:
		l.count.replied.Add(1)
	case d.Action == hooks.Deny:
		l.count.denied.Add(1)
	}
}

// errors of a chain itself.
var (
	errBusy   = errors.New("too many requests are being judged")
	errSlow   = errors.New("it did not answer in time")
	errOpen   = errors.New("it failed several times in a row and is not asked for a while")
	errAction = errors.New("it answered with an action that is not known")
	errAnswer = errors.New("its reply can't be sent: it needs a status from 200 to 599 and at most 64 KiB")
	errGone   = errors.New("the client is gone")
)

// decide asks one hook. An error is whatever is not an answer.
func (l *link) decide(ctx context.Context, r *hooks.Request) (d hooks.Decision, err error) {
	if l.prompt {
		d, err = l.promptly(ctx, r)
	} else {
		d, err = l.guarded(ctx, r)
	}
	if err == nil {
		d, err = check(d)
	}
	return d, err
}

// promptly asks a hook that comes back by itself: it needs no goroutine, and its
// deadline is looked at afterwards. A pure function is never broken: what fails
// is the request.
func (l *link) promptly(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	start := time.Now()
	if err := l.enter(ctx); err != nil {
		return hooks.Decision{}, err
	}
	defer func() { <-l.room }()
	d, err := ask(ctx, l.Hook, r)
	if err == nil && time.Since(start) > l.Timeout {
		err = errSlow
	}
	return d, err
}

// guarded asks any other hook.
func (l *link) guarded(ctx context.Context, r *hooks.Request) (d hooks.Decision, err error) {
	if !l.breaker.enter() {
		return d, errOpen
	}
	judged := true
	defer func() { l.breaker.leave(err != nil, judged) }()
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	if err := l.enter(ctx); err != nil {
		judged = false // that there is no room says nothing of the hook
		return d, err
	}
	d, err = l.await(ctx, r)
	judged = !errors.Is(err, errGone)
	return d, err
}

// enter waits for room.
func (l *link) enter(ctx context.Context) error {
	select {
	case l.room <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	select {
	case l.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errBusy
	}
}

// await asks a hook that may not come back. Its room is free again when it does,
// so that those that hang are bounded.
func (l *link) await(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	type result struct {
		d   hooks.Decision
		err error
	}
	own := *r
	own.Header = r.Header.Clone() // it may still read them when the request is over
	done := make(chan result, 1)
	go func() {
		defer func() { <-l.room }()
		d, err := ask(ctx, l.Hook, &own)
		done <- result{d, err}
	}()
	select {
	case res := <-done:
		return res.d, res.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return hooks.Decision{}, errGone
		}
		return hooks.Decision{}, errSlow
	}
}

// ask calls a hook; a panic is an error.
func ask(ctx context.Context, h hooks.Hook, r *hooks.Request) (d hooks.Decision, err error) {
	defer func() {
		if v := recover(); v != nil {
			d, err = hooks.Decision{}, fmt.Errorf("it panicked: %v", v)
		}
	}()
	return h.Decide(ctx, r)
}

// check refuses answers that mean nothing, and makes a reply one that can be sent.
func check(d hooks.Decision) (hooks.Decision, error) {
	switch d.Action {
	case hooks.Next, hooks.Deny:
		d.Answer = nil
		return d, nil
	case hooks.Reply:
		a, err := answer(d.Answer)
		d.Answer = a
		return d, err
	}
	return hooks.Decision{}, errAction
}
