package daemon

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/sandbox/cgroup"
)

// pool starts proxies before they are needed, so that a session costs no fork.
type pool struct {
	program  string
	groups   *cgroup.Tree
	firstUID int
	want     int // idle ones
	log      func(format string, args ...any)

	jobs  chan func()   // for the thread that starts processes
	wake  chan struct{} // there may be too few
	stop  chan struct{}
	quit  chan struct{} // the thread's
	ended sync.WaitGroup

	mu    sync.Mutex
	idle  []*proxy
	slots []bool // in use
	next  int
	shut  bool
}

func newPool(c *Config) *pool {
	s := c.Settings
	p := &pool{
		program: c.program, groups: c.Groups, firstUID: s.Proxies.FirstUID, want: s.Proxies.Idle, log: c.Log,
		jobs: make(chan func()), wake: make(chan struct{}, 1), stop: make(chan struct{}), quit: make(chan struct{}), slots: make([]bool, s.Proxies.Most+s.Proxies.Idle),
	}
	if p.program == "" {
		// Not by its path: the user of a proxy may not be able to walk to it.
		p.program = "/proc/self/exe"
	}
	go p.forker()
	p.ended.Go(p.fill)
	p.nudge()
	return p
}

// forker is the thread whose death kills the proxies (prctl(2)
// PR_SET_PDEATHSIG follows the thread that forked). It is never given back, so
// it dies with the daemon, or by close with all proxies gone.
func (p *pool) forker() {
	runtime.LockOSThread()
	for {
		select {
		case f := <-p.jobs:
			f()
		case <-p.quit:
			return
		}
	}
}

// thread calls f on the forker.
func (p *pool) thread(f func() error) error {
	err := make(chan error, 1)
	select {
	case p.jobs <- func() { err <- f() }:
		return <-err
	case <-p.stop:
		return errClosing
	}
}

var errClosing = errors.New("the supervisor is ending")

func (p *pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// readyTime bounds a proxy's start.
const readyTime = 10 * time.Second

// fill keeps want proxies idle. After a failure it waits: what fails once mostly
// fails again, and every session tries for itself.
func (p *pool) fill() {
	for {
		select {
		case <-p.wake:
		case <-p.stop:
			return
		}
		for p.short() {
			x, err := p.launch()
			if err == nil {
				p.put(x)
				continue
			}
			if errors.Is(err, errClosing) {
				return
			}
			p.log("start a proxy: %v", err)
			select {
			case <-time.After(time.Second):
			case <-p.stop:
				return
			}
		}
	}
}

func (p *pool) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.shut && len(p.idle) < p.want
}

// put keeps an idle proxy, or ends it when the pool is closed.
func (p *pool) put(x *proxy) {
	p.mu.Lock()
	if !p.shut {
		p.idle = append(p.idle, x)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	x.kill()
}

// launch starts a proxy and waits until it is ready.
func (p *pool) launch() (*proxy, error) {
	slot, err := p.slot()
	if err != nil {
		return nil, err
	}
	x, err := p.start(slot)
	if err != nil {
		p.free(slot)
		return nil, err
	}
	p.ended.Go(func() {
		<-x.done
		p.forget(x)
		p.nudge()
	})
	t := time.NewTimer(readyTime)
	defer t.Stop()
	select {
	case <-x.ready:
		return x, nil
	case <-x.done:
		return nil, x.reason()
	case <-t.C:
		x.kill()
		return nil, errors.New("a proxy does not get ready")
	}
}

// take returns an idle proxy, or starts one. It does not fill the pool up again:
// that is for when the session runs, see nudge.
func (p *pool) take() (*proxy, error) {
	for {
		p.mu.Lock()
		if p.shut {
			p.mu.Unlock()
			return nil, errClosing
		}
		if len(p.idle) == 0 {
			p.mu.Unlock()
			return p.launch()
		}
		x := p.idle[0]
		p.idle = p.idle[1:]
		p.mu.Unlock()
		if x.failed() == nil {
			return x, nil
		}
	}
}

// slot finds a free number, the one that was free for longest first: what an
// earlier proxy of that number may have left gets time to go.
func (p *pool) slot() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return 0, errClosing
	}
	for range p.slots {
		n := p.next
		p.next = (p.next + 1) % len(p.slots)
		if !p.slots[n] {
			p.slots[n] = true
			return n, nil
		}
	}
	return 0, errors.New("as many proxies run as may")
}

// forget is called when a proxy is gone.
func (p *pool) forget(x *proxy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[x.slot] = false
	p.idle = slices.DeleteFunc(p.idle, func(y *proxy) bool { return x == y })
}

func (p *pool) free(slot int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[slot] = false
}

// close ends the idle proxies and waits for all. The sessions are over by then.
func (p *pool) close() {
	p.mu.Lock()
	p.shut = true
	left := p.idle
	p.idle = nil
	p.mu.Unlock()
	close(p.stop)
	for _, x := range left {
		x.kill()
	}
	p.ended.Wait()
	close(p.quit)
}
