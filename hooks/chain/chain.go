package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
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
	On   []hooks.Point // when it is asked; none: PointRequest
	// About says whether the hook is asked about a target; nil: about each.
	About       func(*hooks.Target) bool
	Inspect     hooks.Inspect // how it is asked about bodies
	Timeout     time.Duration // for one decision, waiting for its turn included
	Concurrency int           // decisions at once
}

// Chain asks hooks in their order. It is safe for concurrent use; the nil Chain
// has no hooks.
type Chain struct {
	links  []*link
	points pointSet // at which any of them is asked
}

// pointSet has a bit for each point.
type pointSet uint16

func (s pointSet) has(p hooks.Point) bool { return s>>p&1 == 1 }

// link is a hook with its state.
type link struct {
	Entry
	points  pointSet
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
		case slices.ContainsFunc(e.On, func(p hooks.Point) bool { return p.String() == "unknown" }):
			return nil, fmt.Errorf("make hook %s: it is asked at a point that is not known", printable(e.Name))
		}
		if !e.Inspect.Valid() {
			return nil, fmt.Errorf("make hook %s: its bounds of bodies are out of theirs", printable(e.Name))
		}
		if e.Timeout == 0 {
			e.Timeout = DefaultTimeout
		}
		if e.Concurrency == 0 {
			e.Concurrency = DefaultConcurrency
		}
		_, prompt := e.Hook.(interface{ Prompt() })
		l := &link{Entry: e, prompt: prompt, room: make(chan struct{}, e.Concurrency)}
		for _, p := range e.On {
			l.points |= 1 << p
		}
		if len(e.On) == 0 {
			l.points = 1 << hooks.PointRequest
		}
		c.links, c.points = append(c.links, l), c.points|l.points
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

// Asks says whether any hook is asked at a point about a target.
func (c *Chain) Asks(p hooks.Point, t *hooks.Target) bool {
	_, _, ok := c.First(p, t)
	return ok
}

// First returns the name and rule of the hook that is asked first.
func (c *Chain) First(p hooks.Point, t *hooks.Target) (name, rule string, ok bool) {
	if c == nil || !c.points.has(p) {
		return "", "", false
	}
	for _, l := range c.links {
		if l.asked(p, t) {
			return l.Name, l.Rule, true
		}
	}
	return "", "", false
}

// Blind returns the name and rule of a hook that is asked about bodies, and not about
// messages of a WebSocket.
func (c *Chain) Blind(t *hooks.Target) (name, rule string, ok bool) {
	if c == nil || !c.points.has(hooks.PointRequestBody) && !c.points.has(hooks.PointResponseBody) {
		return "", "", false
	}
	for _, l := range c.links {
		if (l.asked(hooks.PointRequestBody, t) || l.asked(hooks.PointResponseBody, t)) && !l.asked(hooks.PointWebSocket, t) {
			return l.Name, l.Rule, true
		}
	}
	return "", "", false
}

func (l *link) asked(p hooks.Point, t *hooks.Target) bool {
	return l.points.has(p) && (l.About == nil || p.Sessional() || l.About(t))
}

// Request asks the hooks about a request that the policy allows, at its point. The
// decision is Next when all of them say so; else it is the first other one, a Deny
// or a Reply, with a reason that names the hook. It is Ask when at least one hook
// leaves it to a person and all others say Next: the reason has the words of each that
// does, the rule is that of the first. Beside Next and Ask it has Via where hooks route:
// two that route differently deny. It is Next with a Change, and nothing else, when they
// make another header of the request and no hook denies: whoever makes the change asks
// again, about that. Two that make different things of a field deny. Of a session's end all are told, and what they say
// changes nothing. The trace has each hook that was asked.
func (c *Chain) Request(ctx context.Context, r *hooks.Request) (hooks.Decision, []hooks.Trace) {
	var trace []hooks.Trace
	if c == nil || !c.points.has(r.Point) {
		return hooks.Decision{Action: hooks.Next}, nil
	}
	all, made := hooks.Decision{Action: hooks.Next}, wishes(nil)
	for _, l := range c.links {
		if !l.asked(r.Point, &r.Target) {
			continue
		}
		d, t := l.ask(ctx, r)
		trace = append(trace, t)
		if d.Change != nil && d.Change.Body != nil {
			// Who passes on a body asks by Inspect, which hands on what was made of it.
			return l.denial(hooks.Decision{Reason: errChange.Error()}, errChange), trace
		}
		if d.Change != nil {
			if other, field := made.add(l.Name, d.Change); other != "" {
				return hooks.Decision{Rule: l.Rule, Reason: "hook " + other + " makes one thing of " + field + ", and hook " + l.Name + " another"}, trace
			}
		}
		switch {
		case d.Action == hooks.Next || r.Point == hooks.PointSessionEnd:
		case d.Action == hooks.Route:
			if all.Via != "" && all.Via != d.Via {
				return Torn(Router(trace), all.Via, l.Name, d.Via, l.Rule), trace
			}
			if all.Via = d.Via; all.Action == hooks.Next {
				all.Rule = l.Rule
			}
		case d.Action != hooks.Ask:
			return d, trace
		case all.Action == hooks.Ask:
			all.Reason += "; " + d.Reason
		default:
			all.Action, all.Reason, all.Rule = d.Action, d.Reason, d.Rule
		}
	}
	if c := made.change(r.Header); c != nil {
		return hooks.Decision{Action: hooks.Next, Change: c}, trace
	}
	return all, trace
}

// Rule returns the "file:line" of the hook of a name.
func (c *Chain) Rule(name string) string {
	for _, l := range c.links {
		if l.Name == name {
			return l.Rule
		}
	}
	return ""
}

// ask asks one hook.
func (l *link) ask(ctx context.Context, r *hooks.Request) (hooks.Decision, hooks.Trace) {
	start := time.Now()
	d, err := l.decide(ctx, r)
	t := hooks.Trace{Hook: l.Name, Point: r.Point, Decision: d.Action.String()}
	if err != nil {
		d, t.Decision = hooks.Decision{Reason: err.Error()}, "failed"
	}
	d.Reason = clean(d.Reason)
	if d.Action == hooks.Route {
		if d.Reason != "" {
			d.Reason = ": " + d.Reason
		}
		d.Reason = d.Via + d.Reason
	}
	t.Reason, t.Duration = d.Reason, time.Since(start)
	switch {
	case d.Change == nil:
	case d.Change.Body != nil:
		t.Body = rewritten(r.Body.Data, d.Change.Body)
	default:
		t.Fields = fields(effect(r.Header, d.Change))
	}
	l.tally(d, err)
	if d.Action == hooks.Next || d.Action == hooks.Route {
		return d, t
	}
	return l.denial(d, err), t
}

// denial says in whose name a decision is another than Next.
func (l *link) denial(d hooks.Decision, err error) hooks.Decision {
	d.Rule = l.Rule
	switch {
	case err != nil:
		d.Reason = "hook " + l.Name + " failed, which denies: " + d.Reason
	case d.Action == hooks.Reply:
		d.Reason = "answered by hook " + l.Name
	case d.Action == hooks.Ask && d.Reason == "":
		d.Reason = "hook " + l.Name + " asks"
	case d.Action == hooks.Ask:
		d.Reason = "hook " + l.Name + " asks: " + d.Reason
	case d.Reason == "":
		d.Reason = "denied by hook " + l.Name
	default:
		d.Reason = "denied by hook " + l.Name + ": " + d.Reason
	}
	return d
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
	errReply  = errors.New("it answered with a reply where there can be none")
	errRoute  = errors.New("it routed where that can't be, or by no name of an upstream")
	errPerson = errors.New("it left to a person what has left already, or is not held")
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
		d, err = check(r, d)
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
	own := own(r)
	done := make(chan result, 1)
	go func() {
		defer func() { <-l.room }()
		d, err := ask(ctx, l.Hook, own)
		done <- result{d, err}
	}()
	select {
	case res := <-done:
		// What gives up because the time is over may be heard first. It is over by the
		// clock: the timer of ctx may be late, and the other side's was not.
		if end, ok := ctx.Deadline(); res.err == nil || ctx.Err() == nil && !(ok && !time.Now().Before(end)) {
			return res.d, res.err
		}
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return hooks.Decision{}, errGone
	}
	return hooks.Decision{}, errSlow
}

// own copies what changes when the request is over: a hook that does not come
// back in time may still read it.
func own(r *hooks.Request) *hooks.Request {
	q := *r
	q.Header = r.Header.Clone()
	if r.Response != nil {
		resp := *r.Response
		resp.Header = resp.Header.Clone()
		q.Response = &resp
	}
	if r.Tool != nil {
		q.Tool = &hooks.Tool{Name: r.Tool.Name, Arguments: bytes.Clone(r.Tool.Arguments)}
	}
	if r.Body != nil {
		body := *r.Body
		body.Data, body.Trailer = bytes.Clone(body.Data), body.Trailer.Clone()
		q.Body = &body
	}
	return &q
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
