package supervisor

import "time"

// pulse is what a pen has done so far, in numbers that grow.
type pulse struct {
	traffic uint64        // segments with data and datagrams in its network
	typed   uint64        // bytes to and from its terminal
	cpu     time.Duration // of all its processes
}

// idleness finds out when a session has done nothing for as long as its policy
// allows. Nothing is: in no slice of that time did its network carry data or its
// terminal a byte, nor did its processes use a hundredth of a processor. (A
// program that waits wakes up now and then; a frozen pen does not count.)
type idleness struct {
	limit time.Duration
	last  pulse
	seen  time.Time // when last was taken
	since time.Time // when the session last did something
}

// slice is how often the pen is looked at: a tenth of limit, within reason.
func (i *idleness) slice() time.Duration {
	return min(max(i.limit/10, 100*time.Millisecond), time.Minute)
}

// start begins to count.
func (i *idleness) start(now time.Time, p pulse) { i.last, i.seen, i.since = p, now, now }

// observe takes a pulse, and says whether the session is to end.
func (i *idleness) observe(now time.Time, p pulse) bool {
	used, passed := p.cpu-i.last.cpu, now.Sub(i.seen)
	if p.traffic != i.last.traffic || p.typed != i.last.typed || used*100 >= passed {
		i.since = now
	}
	i.last, i.seen = p, now
	return now.Sub(i.since) >= i.limit
}
