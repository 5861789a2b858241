package query

import (
	"context"
	"time"
)

// pollEvery is how often a file is looked at where the kernel does not tell.
const pollEvery = 300 * time.Millisecond

// poll is the watch of last resort.
type poll struct{}

func (poll) wait(ctx context.Context) error {
	t := time.NewTimer(pollEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (poll) close() {}

// watch tells when something in a directory may have changed.
type watch interface {
	// wait returns nil at once when something changed since the last call, or else
	// when it does; it may return nil for nothing.
	wait(ctx context.Context) error
	close()
}
