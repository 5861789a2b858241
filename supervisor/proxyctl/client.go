//go:build unix

package proxyctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy/ask"
	"github.com/penstock/penstock/supervisor/questions"
)

// Client is the supervisor's side. Its methods may be called concurrently.
type Client struct {
	conn    *Conn
	calling sync.Mutex // held from a question to its answer
	replies chan *Message
	done    chan struct{}
	err     error // why the conversation ended; read after done

	counting   sync.Mutex
	counts     chan Counts
	violations chan Violation

	mu     sync.Mutex
	who    *answerer
	book   *questions.Book // nil: nobody is asked
	closed bool
}

// Violation is what the proxy says of one. It is hostile text.
type Violation struct {
	Kind, Detail string
	Acted        string // what the privileged supervisor does about it: freeze, kill; "" is nothing
}

// NewClient starts reading from conn. notice is called, from one goroutine, for
// each line that the proxy wants the user to see; the line is hostile text.
func NewClient(conn *Conn, notice func(string)) *Client {
	c := &Client{conn: conn, replies: make(chan *Message, 1), done: make(chan struct{}), counts: make(chan Counts, 1), violations: make(chan Violation, 1)}
	go c.read(notice)
	return c
}

func (c *Client) read(notice func(string)) {
	defer close(c.done)
	for {
		m, err := c.conn.Recv()
		if err != nil {
			c.err = err
			return
		}
		switch m.Op {
		case OpNotice:
			notice(m.Text)
		case OpViolation:
			select {
			case c.violations <- Violation{m.Kind, m.Text, m.Acted}:
			default: // there is one to act on already
			}
		case OpCounted:
			// Not a reply: one that comes too late is none of the next call's.
			if m.Counts == nil {
				continue
			}
			select {
			case <-c.counts:
			default:
			}
			c.counts <- *m.Counts
		case OpWho:
			if err := c.asked(m.Who); err != nil {
				c.err = err
				return
			}
		case OpAsk, OpWithdraw:
			if err := c.toPerson(m); err != nil {
				c.err = err
				return
			}
		case OpConfigured, OpListening, OpRecorded, OpRenewed, OpEnded:
			select {
			case c.replies <- m:
			default:
				c.err = fmt.Errorf("proxy sent %s without being asked", m.Op)
				return
			}
		default:
			c.err = fmt.Errorf("proxy sent a supervisor's message: %s", m.Op)
			return
		}
	}
}

// Done is closed when the proxy's end of the conversation is gone.
func (c *Client) Done() <-chan struct{} { return c.done }

// Violations gives those that the proxy tells of.
func (c *Client) Violations() <-chan Violation { return c.violations }

// Counts asks how many flows there were.
func (c *Client) Counts(ctx context.Context) (Counts, error) {
	c.counting.Lock()
	defer c.counting.Unlock()
	select {
	case <-c.counts: // of a question that was given up
	default:
	}
	if err := c.conn.Send(&Message{Op: OpCount}); err != nil {
		return Counts{}, err
	}
	select {
	case n := <-c.counts:
		return n, nil
	case <-c.done:
		return Counts{}, fmt.Errorf("proxy ended before it answered %s: %w", OpCount, c.err)
	case <-ctx.Done():
		return Counts{}, fmt.Errorf("wait for the proxy's answer to %s: %w", OpCount, ctx.Err())
	}
}

// Close ends the conversation; the proxy role exits on it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	who := c.who
	c.who = nil
	c.mu.Unlock()
	err := c.conn.Close()
	if who != nil {
		who.close()
	}
	return err
}

// Answer lets resolve answer the proxy's questions about processes, until Close.
// It is called concurrently. Before that every answer is "unknown".
func (c *Client) Answer(resolve Resolve) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.who == nil && !c.closed {
		c.who = newAnswerer(c.conn, resolve)
	}
}

// AskPerson lets the proxy ask a person, until the end of the conversation. It is
// called before the proxy serves a pen.
func (c *Client) AskPerson(notice func(*ask.Question)) *questions.Book {
	b := questions.New(func(a *ask.Answer) error { return c.conn.Send(&Message{Op: OpAnswer, Answer: a}) }, notice)
	c.mu.Lock()
	c.book = b
	c.mu.Unlock()
	return b
}

// toPerson takes what the proxy says to a person.
func (c *Client) toPerson(m *Message) error {
	c.mu.Lock()
	b := c.book
	c.mu.Unlock()
	if b == nil {
		return errors.New("proxy asked for a person, and there is none")
	}
	if m.Op == OpWithdraw {
		b.Withdraw(m.Withdrawn)
		return nil
	}
	return b.Put(m.Question)
}

// asked takes a question of the proxy's.
func (c *Client) asked(q *Who) error {
	if q == nil {
		return errors.New("proxy asked about no connection")
	}
	c.mu.Lock()
	who := c.who
	c.mu.Unlock()
	if who != nil && who.ask(q) {
		return nil
	}
	return c.conn.Send(&Message{Op: OpProcess, Found: &Found{ID: q.ID}})
}

// Listen says that the pen's sockets were sent, and returns when the proxy
// serves them.
func (c *Client) Listen(ctx context.Context) error {
	_, err := c.call(ctx, &Message{Op: OpListen}, OpListening)
	return err
}

// DeniedError says that a hook denies the session, or a further command of it, whose
// start is recorded.
type DeniedError struct{ Reason, Rule string }

// Error returns one line.
func (e *DeniedError) Error() string { return "the session may not start: " + e.Reason }

// Hint says what to do.
func (e *DeniedError) Hint() string { return "the hook stands at " + e.Rule }

// Record returns after event, of the given kind, is in the audit file. The error of
// a start that a hook denies is a *DeniedError.
func (c *Client) Record(ctx context.Context, kind string, event any) error {
	raw, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encode %s event: %w", kind, err)
	}
	m, err := c.call(ctx, &Message{Op: OpRecord, Kind: kind, Event: raw}, OpRecorded)
	if err == nil && m.Denied != "" {
		return &DeniedError{m.Denied, m.Rule}
	}
	return err
}

// Renew gives a secret another value, or none, and returns when it is in force.
func (c *Client) Renew(ctx context.Context, r *secrets.Renewal) error {
	_, err := c.call(ctx, &Message{Op: OpRenew, Renewal: r}, OpRenewed)
	return err
}

// End closes all flows, writes event as the last record and returns the
// session's summary.
func (c *Client) End(ctx context.Context, event any) (*Summary, error) {
	raw, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode session end: %w", err)
	}
	m, err := c.call(ctx, &Message{Op: OpEnd, Event: raw}, OpEnded)
	if err != nil {
		return nil, err
	}
	if m.Summary == nil {
		return nil, errors.New("end session: proxy sent no summary")
	}
	return m.Summary, nil
}

func (c *Client) call(ctx context.Context, m *Message, want Op) (*Message, error) {
	c.calling.Lock()
	defer c.calling.Unlock()
	if err := c.conn.Send(m); err != nil {
		return nil, err
	}
	return c.await(ctx, string(m.Op), want)
}

// await returns the answer to what.
func (c *Client) await(ctx context.Context, what string, want Op) (*Message, error) {
	var r *Message
	select {
	case r = <-c.replies:
	case <-c.done:
		// The proxy ends right after its last answer: both may be there.
		select {
		case r = <-c.replies:
		default:
			return nil, fmt.Errorf("proxy ended before it answered %s: %w", what, c.err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the proxy's answer to %s: %w", what, ctx.Err())
	}
	if r.Op != want {
		return nil, fmt.Errorf("proxy answered %s with %s", what, r.Op)
	}
	if r.Error != "" {
		return nil, fmt.Errorf("proxy: %s", r.Error)
	}
	return r, nil
}
