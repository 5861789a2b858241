// Package idle finds out when a pen has done nothing for as long as it may.
//
// Its hazard is a tool that pretends: one that wants to stay has only to work or
// to talk, both of which are seen and counted elsewhere, and one that wants the
// session to end can end itself. It does no I/O; who looks at the pen supplies
// what it saw. Only supervisor and supervisor/daemon import it.
package idle

import "time"

// Pulse is what a pen has done so far, in numbers that grow.
type Pulse struct {
	Traffic uint64        // segments with data and datagrams in its network
	Typed   uint64        // bytes to and from its terminal, or how often that was used
	CPU     time.Duration // of all its processes
}

// Clock counts the time in which a session did nothing. Nothing is: in no slice of
// that time did its network carry data or its terminal a byte, nor did its
// processes use a hundredth of a processor. (A program that waits wakes up now and
// then; a frozen pen does not count.) It is one goroutine's.
type Clock struct {
	Limit time.Duration // above 0

	last  Pulse
	seen  time.Time // when last was taken
	since time.Time // when the session last did something
}

// Slice is how often the pen is to be looked at: a tenth of the limit, within
// reason.
func (c *Clock) Slice() time.Duration {
	return min(max(c.Limit/10, 100*time.Millisecond), time.Minute)
}

// Start begins to count.
func (c *Clock) Start(now time.Time, p Pulse) { c.last, c.seen, c.since = p, now, now }

// Observe takes a pulse, and says whether the session is to end.
func (c *Clock) Observe(now time.Time, p Pulse) bool {
	used, passed := p.CPU-c.last.CPU, now.Sub(c.seen)
	if p.Traffic != c.last.Traffic || p.Typed != c.last.Typed || used*100 >= passed {
		c.since = now
	}
	c.last, c.seen = p, now
	return now.Sub(c.since) >= c.Limit
}
