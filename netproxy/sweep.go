package netproxy

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// sweeper ends HTTP connections that wait for too long and relays without
// traffic, and flushes headers whose body does not come. One timer serves all connections: a deadline per
// connection and request would be set and cleared four times for each request,
// and a timer that is earlier than all others wakes a sleeping thread to say so.
type sweeper struct {
	p          *Proxy
	fast, slow time.Duration // ticks with and without something that is urgent
	timer      *time.Timer

	// clock is the time of the last tick, in unix nanoseconds: exact enough, and
	// read for each request.
	clock atomic.Int64

	mu     sync.Mutex
	pace   time.Duration // of the tick that is to come; 0: none is
	closed bool
	calm   int // ticks in a row without late headers
	conns  map[*conn]struct{}
	relays map[*relay]struct{}
	late   map[*web]int // ticks that the headers have waited
}

// waits is what a sweeper looks at of a connection.
type waits struct {
	since atomic.Int64 // unix nanoseconds since when it waits for a request; 0: it doesn't
	head  atomic.Int64 // the same since the first byte of a header that is not whole
}

func newSweeper(p *Proxy) *sweeper {
	s := &sweeper{p: p, conns: make(map[*conn]struct{}), relays: make(map[*relay]struct{}), late: make(map[*web]int)}
	s.slow = max(min(p.limits.Header, p.limits.Idle, p.limits.Raw, 16*time.Second)/8, 5*time.Millisecond)
	s.fast = min(s.slow, 100*time.Millisecond)
	s.timer = time.AfterFunc(time.Hour, s.sweep)
	s.timer.Stop()
	return s
}

// wake has the next tick come after pace at the latest.
func (s *sweeper) wake(pace time.Duration) {
	if !s.closed && (s.pace == 0 || pace < s.pace) {
		s.pace, s.calm = pace, 0
		s.timer.Reset(pace)
	}
}

// watch begins to look after an HTTP connection that waits for its first request.
func (s *sweeper) watch(c *conn) {
	now := time.Now().UnixNano()
	s.clock.Store(now)
	c.waits.since.Store(now)
	c.waits.head.Store(now) // the first header has no idle time
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	s.wake(s.slow)
}

func (s *sweeper) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// arm flushes x's headers if the body's first piece does not come soon.
func (s *sweeper) arm(x *web) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late[x] = 0
	s.wake(s.fast)
}

func (s *sweeper) disarm(x *web) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.late, x)
}

func (s *sweeper) sweep() {
	now := time.Now().UnixNano()
	s.clock.Store(now)
	var overdue []*conn
	s.mu.Lock()
	defer func() {
		for _, c := range overdue {
			c.Close()
		}
	}()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for x, ticks := range s.late {
		if ticks == 0 {
			s.late[x] = 1
			continue
		}
		delete(s.late, x)
		x.aside((*web).Flush) // can block on a client that does not read
	}
	for c := range s.conns {
		since, head := c.waits.since.Load(), c.waits.head.Load()
		if since != 0 && now-since > int64(s.p.limits.Idle) || since != 0 && head != 0 && now-head > int64(s.p.limits.Header) {
			overdue = append(overdue, c)
		}
	}
	for r := range s.relays {
		r.poke(now)
	}
	// What is gone quiet gets slower ticks, and an empty proxy none. Not at once:
	// a change of pace is what this type is there to avoid.
	s.calm++
	switch {
	case len(s.late) > 0:
		s.pace, s.calm = s.fast, 0
	case s.calm < 16:
	case len(s.conns) > 0 || len(s.relays) > 0:
		s.pace = s.slow
	default:
		s.pace = 0
		return
	}
	s.timer.Reset(s.pace)
}

// relay begins to look after r; unrelay ends it.
func (s *sweeper) relay(r *relay) {
	now := time.Now().UnixNano()
	r.last.Store(now)
	r.poked = now
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relays[r] = struct{}{}
	s.wake(s.slow)
}

func (s *sweeper) unrelay(r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.relays, r)
}

func (s *sweeper) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.timer.Stop()
}

// connState tells waiting connections from busy ones, of HTTP/1 and HTTP/2.
func connState(nc net.Conn, state http.ConnState) {
	c := penOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked:
		c.waits.since.Store(0)
		c.waits.head.Store(0)
	case http.StateIdle:
		c.waits.since.Store(c.p.sweeper.clock.Load())
	}
}
