package exec

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// Process is one process of a hook.
type Process struct {
	In    *os.File   // the end of its standard input to write to; with deadlines
	Out   *os.File   // the end of its standard output to read from; with deadlines
	Ended <-chan int // gets its exit code when it has ended, -1 if there is none
	Kill  func()     // ends it; once, whatever it did before
}

// close lets go of a process.
func (p *Process) close() {
	p.In.Close()
	p.Out.Close()
	p.Kill()
}

// Start starts a process of a hook. It waits as long as it finds right when the last
// one ended early, and for ctx at most.
type Start func(ctx context.Context) (*Process, error)

// again is the wait after a process that could not be started.
const again = time.Second

// Hook asks a process that stays. It is safe for concurrent use.
type Hook struct {
	name  string
	start Start
	stop  context.CancelFunc
	done  chan struct{} // closed when there will be no further process

	asked atomic.Uint64 // questions

	mu      sync.Mutex
	now     *child
	failed  error         // why there is none
	changed chan struct{} // closed when now is another
}

var _ hooks.Hook = (*Hook)(nil)

// New starts a hook's process, and another one whenever it has ended. The caller
// closes the hook.
func New(name string, start Start) *Hook {
	ctx, stop := context.WithCancel(context.Background())
	h := &Hook{name: name, start: start, stop: stop, done: make(chan struct{}), changed: make(chan struct{}), failed: errors.New("its process has not started yet")}
	go h.keep(ctx)
	return h
}

// Close ends the process and waits for that.
func (h *Hook) Close() error {
	h.stop()
	<-h.done
	return nil
}

// keep has a process running until ctx is done.
func (h *Hook) keep(ctx context.Context) {
	defer close(h.done)
	for ctx.Err() == nil {
		p, err := h.start(ctx)
		if err != nil {
			h.set(nil, err)
			select {
			case <-time.After(again):
			case <-ctx.Done():
			}
			continue
		}
		c := newChild(p)
		h.set(c, nil)
		select {
		case <-c.gone:
		case <-ctx.Done():
			c.fail(errors.New("the session is over"))
		}
		h.set(nil, c.why)
	}
}

func (h *Hook) set(c *child, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now, h.failed = c, why
	close(h.changed)
	h.changed = make(chan struct{})
}

// child waits for a process that can be asked, another one than last.
func (h *Hook) child(ctx context.Context, last *child) (*child, error) {
	for {
		h.mu.Lock()
		c, changed, why := h.now, h.changed, h.failed
		h.mu.Unlock()
		if why == nil {
			why = errNotAsked
		}
		if c != nil && c != last {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, why
		case <-h.done:
			return nil, why
		}
	}
}

// Decide implements hooks.Hook.
func (h *Hook) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	id := strconv.FormatUint(h.asked.Add(1), 10)
	q, err := wire.Request(id, h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	q = append(q, '\n')
	limit := wire.Limit(r)
	var c *child
	for {
		if c, err = h.child(ctx, c); err != nil {
			return hooks.Decision{}, err
		}
		line, err := c.ask(ctx, id, q, limit)
		switch {
		case errors.Is(err, errNotAsked):
		case err != nil:
			return hooks.Decision{}, err
		default:
			return wire.Decision(id, line, limit)
		}
	}
}
