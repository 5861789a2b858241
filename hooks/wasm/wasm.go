package wasm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// Bounds of a module.
const (
	// MaxModule bounds its bytes; of code, of which the interpreter's form takes about
	// thirty times as much, there may be half of that.
	MaxModule = 8 << 20
	maxCode   = MaxModule / 2
	maxLocals = 1 << 20 // variables of all functions
	// MaxMemory bounds the memory of one instance, in bytes.
	MaxMemory = 32 << 20
	// MaxTable bounds the elements of its table, which has eight bytes for each.
	MaxTable = 1 << 16
	// MaxInstances bounds the instances of a module, of which there are no more than
	// processors.
	MaxInstances = 8

	loadTime    = 10 * time.Second // for compiling it and starting its first instance
	defaultTime = 500 * time.Millisecond
)

// Version of the interface between Penstock and a module.
const Version = 1

// Config is how a module is asked. The zero value is an ordinary hook.
type Config struct {
	// Name of the hook, which stands in its questions.
	Name string
	// Timeout is how long one answer may take, its instance's start included, but
	// not the wait for one; 0: half a second.
	Timeout time.Duration
	// Stateful says that what the module remembers decides: one instance gets every
	// question, one after the other, and when it is lost nothing is allowed any more.
	Stateful bool
}

// Hook is a module that is asked. It is safe for concurrent use.
type Hook struct {
	cfg      Config
	rt       wazero.Runtime
	compiled wazero.CompiledModule
	room     chan struct{} // a token for each instance that answers

	mu   sync.Mutex
	idle []*instance
	lost bool // of a stateful hook
}

var _ hooks.Hook = (*Hook)(nil)

var errLost = errors.New("what it remembered is lost, so that it denies until the session ends")

// Load compiles a module, starts a first instance of it, and returns the hook that
// asks it. Nothing of module is kept. The error says what is missing in it.
func Load(ctx context.Context, cfg Config, module []byte) (*Hook, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTime
	}
	room := min(runtime.GOMAXPROCS(0), MaxInstances)
	if cfg.Stateful {
		room = 1
	}
	h := &Hook{cfg: cfg, room: make(chan struct{}, room)}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { // compiling a module does not look at ctx
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("the library panicked: %s", plain(fmt.Errorf("%v", v)))
			}
		}()
		done <- h.load(ctx, module)
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return h, nil
	case <-ctx.Done():
		return nil, errors.New("it was not ready in time")
	}
}

// Close ends the instances. It may be called twice, and after it every question is
// an error.
func (h *Hook) Close() error {
	return h.rt.Close(context.Background())
}

// Decide implements hooks.Hook. It waits for an instance until ctx is done; who
// hangs up then does not interrupt an instance, whose limit is Config.Timeout.
func (h *Hook) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	id := wire.NewID()
	question, err := wire.Request(id, h.cfg.Name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	select {
	case h.room <- struct{}{}:
	case <-ctx.Done():
		return hooks.Decision{}, ctx.Err()
	}
	defer func() { <-h.room }()
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.Timeout)
	defer cancel()
	in, err := h.take(own)
	if err != nil {
		return hooks.Decision{}, err
	}
	whole := false
	defer func() { h.give(in, whole) }()
	limit := wire.Limit(r)
	answer, err := in.ask(own, question, limit)
	if err != nil {
		return hooks.Decision{}, err
	}
	// The answer is in the instance's memory, so it is read before the next question.
	d, err := wire.Decision(id, answer, limit)
	whole = err == nil || h.cfg.Stateful // nonsense is no reason to forget
	return d, err
}

// take returns an instance that nobody else asks, a new one if there is none.
func (h *Hook) take(ctx context.Context) (*instance, error) {
	h.mu.Lock()
	lost, n := h.lost, len(h.idle)
	var in *instance
	if n > 0 {
		in, h.idle = h.idle[n-1], h.idle[:n-1]
	}
	h.mu.Unlock()
	switch {
	case lost:
		return nil, errLost
	case in != nil:
		return in, nil
	}
	return h.start(ctx)
}

// give takes an instance back. One that is not whole is thrown away: nobody knows
// what is in its memory.
func (h *Hook) give(in *instance, whole bool) {
	if !whole {
		in.mod.Close(context.Background()) //nolint:errcheck // it is gone either way
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if whole {
		h.idle = append(h.idle, in)
	} else if h.cfg.Stateful {
		h.lost = true
	}
}
