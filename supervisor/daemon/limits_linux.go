package daemon

import (
	"sync"
	"time"

	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// limitsEvery is how often hits of a session's limits are told to its proxy, at
// most: a tool can go on hitting one for hours.
const limitsEvery = 10 * time.Second

// limits tells a session's proxy, which records it, what limits its pen has hit.
type limits struct {
	group *cgroup.Group
	proxy *proxy

	mu   sync.Mutex
	told cgroup.Counts
	next time.Time // when more may be told
	late *time.Timer
	over bool
}

// watchLimits begins it, when the pen is verified.
func (s *session) watchLimits() {
	if s.group == nil {
		return
	}
	l := &limits{group: s.group, proxy: s.proxy}
	s.limits = l
	s.push(l.end)
	s.group.Watch(func(cgroup.Counts) { l.hit(time.Now()) })
}

// hit tells what is new, or will.
func (l *limits) hit(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over || l.late != nil:
	case now.Before(l.next):
		l.late = time.AfterFunc(l.next.Sub(now), func() {
			l.mu.Lock()
			l.late = nil
			l.mu.Unlock()
			l.hit(time.Now())
		})
	default:
		l.tell()
		l.next = now.Add(limitsEvery)
	}
}

// tell is called with the lock held.
func (l *limits) tell() {
	now, old := l.group.Counts(), l.told
	l.told = now
	d := bossctl.Limits{OOMKills: now.OOMKills - old.OOMKills, MemoryMax: now.MemoryMax - old.MemoryMax, PIDsMax: now.PIDsMax - old.PIDsMax}
	if d != (bossctl.Limits{}) {
		l.proxy.limits(&d)
	}
}

// flush tells what is new at once.
func (l *limits) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.tell()
	}
}

// end tells the rest, before the proxy's last word. The pen is dead by then.
func (l *limits) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late != nil {
		l.late.Stop()
	}
	if !l.over {
		l.over = true
		l.tell()
	}
}
