// Package desk is where the flows of a session wait for a person's answer: it
// joins questions that are the same, bounds how many are asked, remembers what was
// answered, and records the question and its answer before anybody goes on.
//
// HAZARDS. The tool in the pen makes the questions. It would try: to ask so much
// that the person gives up and says yes, or has no view of what counts; to have
// one request approved and send another under the answer; to go on when it has no
// answer, when the one who asks is gone, or when the answer can't be recorded; to
// hold flows open for ever. So: an answer counts for one target, port, protocol
// and rule that asks, and a yes to reading is no yes to writing; what is not
// answered in time, too much, or not recorded is a deny. What a hook has asked is
// answered for what that one said, and for nothing else. What somebody has signed
// beforehand (package approval) answers the one request that it is about, and is
// counted; it is no answer to what a hook has asked.
//
// It looks at no bytes of a peer and knows nothing of connections.
package desk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
	"github.com/penstock/penstock/policy/ask"
)

// Person is who is asked, at the other end of a conversation. The functions do not
// wait for an answer: that comes by Desk.Answer.
type Person interface {
	Ask(q *ask.Question) error
	// Withdraw says that a question needs no answer any more.
	Withdraw(id uint64)
}

// Bounds of what one session can ask.
const (
	maxWaiting = 256 // flows that wait for one answer
	burst      = 20  // questions at once
	refill     = 6 * time.Second
)

// Desk is safe for concurrent use.
type Desk struct {
	person Person
	signed *approval.Set
	record func(audit.Event) error // returns when the event is in the file
	now    func() time.Time

	mu      sync.Mutex
	last    uint64
	open    map[key]*question
	byID    map[uint64]*question
	given   map[key]given
	tokens  float64
	filled  time.Time
	refused uint64
}

// New returns a desk that has what signed says answered first. The other questions go
// to person; nil: there is nobody, and they are denied.
func New(person Person, signed *approval.Set, record func(audit.Event) error) *Desk {
	return &Desk{person: person, signed: signed, record: record, now: time.Now, open: map[key]*question{}, byID: map[uint64]*question{}, given: map[key]given{}, tokens: burst}
}

// key is what one answer is for.
type key struct {
	target   hooks.Target
	protocol hooks.Protocol
	writes   bool
	rule     string // that asks, and where it stands; "" for the default
	hook     string // that asks, where it stands, when, and what it says
}

// cause is what has something asked.
type cause struct {
	key
	ref  string               // "file:line", "" for the default
	name string               // of a hook
	make func() *ask.Question // but for what is the desk's to say
}

func byPolicy(p *policy.Policy, r *hooks.Request, v policy.Verdict) cause {
	c := cause{key: key{target: r.Target, protocol: r.Protocol, writes: p.Approval(r, v).Writes}, make: func() *ask.Question { return ask.New(p, r, v) }}
	if v.Rule != nil {
		c.ref = v.Rule.Ref()
		c.rule = c.ref + " " + v.Rule.Text
	}
	return c
}

func byHook(p *policy.Policy, r *hooks.Request, h *ask.Hook) cause {
	// Over a connection comes what may: an answer about it is not about its first
	// request.
	k := key{target: r.Target, protocol: r.Protocol, hook: h.By()}
	if h.Point != hooks.PointConnect {
		k.writes = p.Approval(r, policy.Verdict{}).Writes
	}
	return cause{key: k, ref: h.Rule, name: h.Name, make: func() *ask.Question { return ask.NewByHook(p, r, h) }}
}

// given is an answer that holds.
type given struct {
	ask.Answer
	until time.Time // zero: the session's end
}

// question is one that waits.
type question struct {
	key     key
	event   audit.Ask // what stays the same of its records
	waiting int
	done    chan struct{} // closed when outcome is set
	outcome Outcome
	timer   *time.Timer
}

// Outcome is what came of a question. The zero value is a deny.
type Outcome struct {
	Allowed bool
	Reason  string // for the pen and the record
	Class   string // "ask-denied", "ask-timeout", "ask-flood", "ask-withdrawn", "ask-nobody", "audit"; "" if allowed
	Signed  bool   // the answer is about this very request, and no other of its kind
}

// Ask waits until a request, of which p's verdict v is Ask, is answered, or ctx is
// done. The request has the number of its flow.
func (d *Desk) Ask(ctx context.Context, p *policy.Policy, r *hooks.Request, v policy.Verdict) Outcome {
	return d.ask(ctx, p, r, byPolicy(p, r, v))
}

// AskByHook is Ask of a request that p allows and a hook leaves to a person.
func (d *Desk) AskByHook(ctx context.Context, p *policy.Policy, r *hooks.Request, h *ask.Hook) Outcome {
	return d.ask(ctx, p, r, byHook(p, r, h))
}

func (d *Desk) ask(ctx context.Context, p *policy.Policy, r *hooks.Request, by cause) Outcome {
	k := by.key
	d.mu.Lock()
	a, ok := d.standing(k)
	if ok && !a.Allow {
		d.mu.Unlock()
		return outcomeOf(&a.Answer)
	}
	if by.hook == "" {
		if t := d.token(r, !ok); t != nil {
			defer d.mu.Unlock()
			return d.bySigned(t, by, r)
		}
	}
	if ok {
		d.mu.Unlock()
		return outcomeOf(&a.Answer)
	}
	if d.person == nil {
		d.mu.Unlock()
		return Outcome{Reason: "there is nobody to ask", Class: "ask-nobody"}
	}
	q := d.open[k]
	if q == nil {
		var err error
		if q, err = d.put(by, p, r); err != nil {
			d.mu.Unlock()
			return Outcome{Reason: err.Error(), Class: "audit"}
		}
	}
	if q == nil || q.waiting == maxWaiting {
		d.refuse(by, r)
		d.mu.Unlock()
		return Outcome{Reason: "too many questions wait for an answer, or were asked in a short time", Class: "ask-flood"}
	}
	q.waiting++
	d.mu.Unlock()
	select {
	case <-q.done:
		return q.outcome
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		d.close(q, "withdrawn", nil, Outcome{Reason: "nobody waits for the answer", Class: "ask-withdrawn"})
	}
	return Outcome{Reason: "the client went away", Class: "ask-withdrawn"}
}

// token finds a signed answer: one that denies before one that allows, which is used
// only if it is needed.
func (d *Desk) token(r *hooks.Request, needed bool) *approval.Token {
	now := d.now()
	if t := d.signed.Denies(r, now); t != nil || !needed {
		return t
	}
	return d.signed.Allows(r, now)
}

// bySigned records a signed answer, and is what comes of it.
func (d *Desk) bySigned(t *approval.Token, by cause, r *hooks.Request) Outcome {
	d.last++
	a := &ask.Answer{ID: d.last, Allow: t.Allow(), Scope: ask.Once, By: t.By()}
	e := audit.Ask{Action: "denied", Question: a.ID, Flow: r.Flow, Protocol: r.Protocol, Target: r.Target, Method: r.Method, Path: r.Path,
		Rule: by.ref, Approval: t.RuleText(), Scope: string(a.Scope), By: a.By, Waiting: 1}
	if a.Allow {
		e.Action = "allowed"
	}
	if err := d.record(&e); err != nil {
		return Outcome{Reason: "the answer can't be recorded: " + err.Error(), Class: "audit"}
	}
	o := outcomeOf(a)
	o.Signed = true
	return o
}

// standing finds an answer that holds. A no to reading is a no to writing too, a
// yes to writing a yes to reading.
func (d *Desk) standing(k key) (given, bool) {
	read, write := k, k
	read.writes, write.writes = false, true
	find := func(k key, allow bool) (given, bool) {
		a, ok := d.given[k]
		if ok && !a.until.IsZero() && !d.now().Before(a.until) {
			delete(d.given, k)
			return a, false
		}
		return a, ok && a.Allow == allow
	}
	try := []struct {
		k     key
		allow bool
	}{{k, false}, {read, false}, {k, true}, {write, true}}
	for _, t := range try {
		if a, ok := find(t.k, t.allow); ok {
			return a, true
		}
	}
	return given{}, false
}

// put asks; nil without an error: it is too much.
func (d *Desk) put(by cause, p *policy.Policy, r *hooks.Request) (*question, error) {
	now := d.now()
	if !d.filled.IsZero() {
		d.tokens = min(burst, d.tokens+float64(now.Sub(d.filled))/float64(refill))
	}
	d.filled = now
	if len(d.open) >= ask.MaxOpen || d.tokens < 1 {
		return nil, nil
	}
	d.tokens--
	d.last++
	wire := by.make()
	wire.ID, wire.Asked, wire.Until, wire.Refused = d.last, now.Round(0), now.Round(0).Add(p.AskTime()), d.refused
	q := &question{key: by.key, done: make(chan struct{}), event: audit.Ask{Question: d.last, Flow: r.Flow, Protocol: r.Protocol, Target: r.Target,
		Method: r.Method, Path: r.Path, Rule: by.ref, Hook: by.name, Approval: wire.Rule}}
	if by.name != "" {
		q.event.Reason = wire.By
	}
	asked := q.event
	asked.Action = "asked"
	if err := d.record(&asked); err != nil {
		return nil, fmt.Errorf("the question can't be recorded: %w", err)
	}
	d.open[by.key], d.byID[d.last] = q, q
	q.timer = time.AfterFunc(p.AskTime(), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.close(q, "timeout", nil, Outcome{Reason: "nobody answered within " + p.AskTime().String() + " (penstock approve)", Class: "ask-timeout"})
	})
	if err := d.person.Ask(wire); err != nil {
		d.close(q, "withdrawn", nil, Outcome{Reason: "there is nobody to ask", Class: "ask-withdrawn"})
	}
	return q, nil
}

// refuse counts what is too much: the first one and each tenth power are recorded.
func (d *Desk) refuse(by cause, r *hooks.Request) {
	d.refused++
	for n := d.refused; ; n /= 10 {
		if n == 1 {
			break
		}
		if n%10 != 0 {
			return
		}
	}
	d.record(&audit.Ask{Action: "refused", Flow: r.Flow, Protocol: by.protocol, Target: by.target, Method: r.Method, Path: r.Path, Rule: by.ref, Hook: by.name, Count: d.refused}) //nolint:errcheck // it is denied either way
}

// close ends a question, once. The record comes first: what can't be recorded is
// denied.
func (d *Desk) close(q *question, action string, a *ask.Answer, o Outcome) {
	if d.byID[q.event.Question] != q {
		return
	}
	delete(d.byID, q.event.Question)
	delete(d.open, q.key)
	q.timer.Stop()
	e := q.event
	e.Action, e.Waiting = action, uint64(q.waiting)
	if a != nil {
		e.Scope, e.For, e.By = string(a.Scope), a.For, a.By
	}
	if err := d.record(&e); err != nil {
		o = Outcome{Reason: "the answer can't be recorded: " + err.Error(), Class: "audit"}
		a = nil
	}
	if a != nil && a.Scope != ask.Once {
		g := given{Answer: *a}
		if a.Scope == ask.For {
			g.until = d.now().Add(a.For)
		}
		d.given[q.key] = g
	}
	if a == nil {
		d.person.Withdraw(q.event.Question)
	}
	q.outcome = o
	close(q.done)
}

func outcomeOf(a *ask.Answer) Outcome {
	o := Outcome{Allowed: a.Allow, Reason: a.String() + " (question " + fmt.Sprint(a.ID) + ")"}
	if !a.Allow {
		o.Class = "ask-denied"
	}
	return o
}

// Answer takes a person's. One that came too late is none.
func (d *Desk) Answer(a *ask.Answer) error {
	if err := a.Check(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.byID[a.ID]
	if q == nil {
		return errors.New("take answer: no such question waits")
	}
	action := "denied"
	if a.Allow {
		action = "allowed"
	}
	d.close(q, action, a, outcomeOf(a))
	return nil
}

// Refused returns how many flows were denied because too much was asked.
func (d *Desk) Refused() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}
