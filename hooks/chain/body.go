package chain

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/penstock/penstock/hooks"
)

// Held bounds how many bytes of bodies are kept back at once, in all of them
// together. It is safe for concurrent use.
type Held struct {
	Max int64
	n   atomic.Int64
}

// Held returns how many bytes are kept back now.
func (h *Held) Held() int64 { return h.n.Load() }

func (h *Held) take(n int64) bool {
	if h.n.Add(n) <= h.Max {
		return true
	}
	h.n.Add(-n)
	return false
}

// Denied says that a hook denied a body or a message.
type Denied struct {
	Decision hooks.Decision
	Point    hooks.Point
	Message  *hooks.Message // nil: it was a body
	After    int64          // bytes of the body, or the message, that were passed on before
}

// Error returns one line.
func (e *Denied) Error() string {
	at := e.Point.String()
	if e.Message != nil {
		at += " " + e.Message.Direction()
	}
	return fmt.Sprintf("%s (%s, after %d bytes)", e.Decision.Reason, at, e.After)
}

// Body is a body of which only that is passed on that the hooks have nothing
// against. Its methods but Traces and Close are for one goroutine.
type Body struct {
	out   io.Reader
	parts []*part
}

// Inspect puts the hooks that are asked at q's point in front of a body. encoding is
// its Content-Encoding, trailer returns what is behind its end. nil: nobody is
// asked.
func (c *Chain) Inspect(ctx context.Context, q *hooks.Request, src io.Reader, encoding string, trailer func() http.Header, held *Held) *Body {
	if c == nil || !c.points.has(q.Point) {
		return nil
	}
	b := &Body{out: src}
	passed, plain := new(int64), new(bool)
	for _, l := range c.links {
		if !l.asked(q.Point, &q.Target) {
			continue
		}
		x := &part{l: l, ctx: ctx, q: *q, src: b.out, trailer: trailer, held: held, passed: passed, encoded: encoding, plain: plain, trace: hooks.Trace{Hook: l.Name, Point: q.Point, Decision: hooks.Next.String()}}
		b.out, b.parts = x, append(b.parts, x)
	}
	if len(b.parts) == 0 {
		return nil
	}
	b.out = &counted{b.out, passed}
	return b
}

// counted notes how much is passed on.
type counted struct {
	io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

// Begin asks the hooks that want the body as a whole. An error is that of Read.
func (b *Body) Begin() error {
	for _, x := range b.parts {
		if x.l.Inspect.Stream {
			continue
		}
		if x.fill(nil); x.err != nil && x.err != io.EOF { //nolint:errorlint // readers return it bare
			return x.err
		}
	}
	return nil
}

// Whole asks about the body if it passes as a whole, and returns it if nothing
// comes behind it. false: Read has what there is. The bytes are the caller's until
// Close.
func (b *Body) Whole() ([]byte, bool) {
	x := b.parts[len(b.parts)-1]
	if x.l.Inspect.Stream || x.err != nil || x.free {
		return nil, false
	}
	x.fill(nil)
	if x.err != io.EOF { //nolint:errorlint // it is set bare
		return nil, false
	}
	data := x.ready
	x.ready = nil
	return data, true
}

// Read implements io.Reader. The error is a *Denied if a hook denied the body: then
// nothing of it is passed on any more.
func (b *Body) Read(p []byte) (int, error) { return b.out.Read(p) }

// Traces returns what each hook did so far, in their order.
func (b *Body) Traces() []hooks.Trace {
	out := make([]hooks.Trace, 0, len(b.parts))
	for _, x := range b.parts {
		x.mu.Lock()
		if x.trace.Times > 0 {
			out = append(out, x.trace)
		}
		x.mu.Unlock()
	}
	return out
}

// Close gives back what is held. Nothing more is passed on.
func (b *Body) Close() {
	for _, x := range b.parts {
		x.mu.Lock()
		x.closed = true
		x.held.n.Add(-x.holds)
		x.holds = 0
		x.mu.Unlock()
	}
}
