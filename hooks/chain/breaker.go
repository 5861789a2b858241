package chain

import (
	"sync"
	"time"
)

// A breaker that has seen so many failures in a row asks nobody for a while;
// then it lets one through to see.
const (
	breakAfter = 5
	breakFor   = 10 * time.Second
)

// breaker opens to deny: it spares a pen the wait for a hook that is broken, and
// the hook the crowd when it comes back.
type breaker struct {
	mu      sync.Mutex
	failed  int       // in a row
	open    time.Time // until when nobody is asked; zero: it is closed
	probing bool      // one is asked to see
}

// enter says whether the hook may be asked. If so, leave must follow.
func (b *breaker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.IsZero() {
		return true
	}
	if b.probing || time.Now().Before(b.open) {
		return false
	}
	b.probing = true
	return true
}

// leave notes how it went; what was not judged changes nothing.
func (b *breaker) leave(failed, judged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case !judged:
	case !failed:
		b.failed, b.open = 0, time.Time{}
	default:
		if b.failed++; b.failed >= breakAfter {
			b.open = time.Now().Add(breakFor)
		}
	}
}

// isOpen says whether the hook is not being asked.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open.IsZero()
}
