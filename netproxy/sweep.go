package netproxy

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// sweeper ends HTTP connections that wait for too long, and flushes headers
// whose body does not come. One timer serves all connections: a deadline per
// connection and request would be set and cleared four times for each request,
// and a timer that is earlier than all others wakes a sleeping thread to say so.
type sweeper struct {
	p     *Proxy
	tick  time.Duration
	timer *time.Timer

	// clock is the time of the last tick, in unix nanoseconds: exact enough, and
	// read for each request.
	clock atomic.Int64

	mu      sync.Mutex
	running bool
	closed  bool
	idle    int // ticks in a row without anything to watch
	conns   map[*conn]struct{}
	late    map[*web]int // ticks that the headers have waited
}

// waits is what a sweeper looks at of a connection.
type waits struct {
	since atomic.Int64 // unix nanoseconds since when it waits for a request; 0: it doesn't
	head  atomic.Int64 // the same since the first byte of a header that is not whole
}

func newSweeper(p *Proxy) *sweeper {
	s := &sweeper{p: p, conns: make(map[*conn]struct{}), late: make(map[*web]int)}
	s.tick = max(min(p.limits.Header, p.limits.Idle, time.Second)/8, 5*time.Millisecond)
	s.timer = time.AfterFunc(time.Hour, s.sweep)
	s.timer.Stop()
	return s
}

func (s *sweeper) wake() {
	if !s.running && !s.closed {
		s.running, s.idle = true, 0
		s.timer.Reset(s.tick)
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
	s.wake()
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
	s.wake()
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
		go x.Flush() // can block on a client that does not read
	}
	for c := range s.conns {
		since, head := c.waits.since.Load(), c.waits.head.Load()
		if since != 0 && now-since > int64(s.p.limits.Idle) || since != 0 && head != 0 && now-head > int64(s.p.limits.Header) {
			overdue = append(overdue, c)
		}
	}
	if len(s.conns) == 0 && len(s.late) == 0 {
		if s.idle++; s.idle > 8 {
			s.running = false // a proxy that serves nothing must not wake up
			return
		}
	}
	s.timer.Reset(s.tick)
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
