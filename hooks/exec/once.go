package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// Once asks a new process each question. It is safe for concurrent use.
type Once struct {
	name  string
	start Start
}

var _ hooks.Hook = (*Once)(nil)

// NewOnce returns a hook that starts a process for each question.
func NewOnce(name string, start Start) *Once { return &Once{name, start} }

// Decide implements hooks.Hook.
func (h *Once) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	const id = "1"
	q, err := wire.Request(id, h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	p, err := h.start(ctx)
	if err != nil {
		return hooks.Decision{}, err
	}
	defer p.close()
	// What waits for the process ends with the question.
	defer context.AfterFunc(ctx, func() {
		p.In.SetDeadline(time.Unix(1, 0))  //nolint:errcheck // it is closed soon
		p.Out.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
	})()
	if _, err := p.In.Write(append(q, '\n')); err != nil && !errors.Is(err, syscall.EPIPE) { // it may have read enough
		return hooks.Decision{}, fmt.Errorf("its process does not read what it is asked: %w", err)
	}
	p.In.Close()
	limit := wire.Limit(r)
	doc, err := io.ReadAll(io.LimitReader(p.Out, int64(limit)+1))
	if err != nil {
		return hooks.Decision{}, fmt.Errorf("its answer does not end: %w", err)
	}
	if len(doc) > limit {
		return hooks.Decision{}, wire.LongError(limit)
	}
	select {
	case code := <-p.Ended:
		if code != 0 {
			return hooks.Decision{}, fmt.Errorf("its process ended with code %d", code)
		}
	case <-ctx.Done():
		return hooks.Decision{}, ctx.Err()
	}
	return wire.Decision(id, doc, limit)
}
