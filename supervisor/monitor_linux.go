package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/procs"
	"github.com/penstock/penstock/supervisor/idle"
	"github.com/penstock/penstock/supervisor/proxyctl"
	"github.com/penstock/penstock/supervisor/registry"
)

// monitor watches over a pen beside its flows: limits, violations, idleness; and
// stops it and lets it go on.
type monitor struct {
	s *session

	full    chan struct{} // a limit was hit; see limits
	told    cgroup.Counts // recorded so far
	shown   map[string]bool
	next    <-chan time.Time // when the next record of limits may be written
	idle    idle.Clock
	looking *time.Ticker // nil without an idle limit
	typed   uint64       // what the daemon knows of the terminal

	mu     sync.Mutex
	frozen bool
}

// limitsEvery is how often hits of limits are recorded, at most: a tool can go on
// hitting one for hours.
const limitsEvery = 10 * time.Second

func newMonitor(s *session) *monitor {
	return &monitor{s: s, full: make(chan struct{}, 1), shown: map[string]bool{}}
}

// start begins when the command has been released. What limits the daemon's group
// has hit, the daemon finds out and has recorded.
func (m *monitor) start() {
	if m.s.group != nil {
		m.s.group.Watch(func(cgroup.Counts) {
			select {
			case m.full <- struct{}{}:
			default:
			}
		})
	}
	if d := m.s.cfg.Policy.Sandbox().Idle.V; d > 0 {
		m.idle.Limit = d
		m.idle.Start(time.Now(), m.pulse())
		m.looking = time.NewTicker(m.idle.Slice())
	}
}

func (m *monitor) stop() {
	if m.looking != nil {
		m.looking.Stop()
	}
}

// look is the clock of idleness; nil, which never ticks, without a limit.
func (m *monitor) look() <-chan time.Time {
	if m.looking == nil {
		return nil
	}
	return m.looking.C
}

func (m *monitor) pulse() idle.Pulse {
	p := idle.Pulse{Typed: m.s.term.Moved()}
	// An error is that the pen is ending.
	p.Traffic, _ = procs.Traffic(m.s.pen.Process().Pid)
	_, _, p.CPU = m.usage()
	return p
}

// usage is what the pen's processes use: as its own group counts it, else added up.
func (m *monitor) usage() (memory, pids uint64, cpu time.Duration) {
	sum := func() (all procs.Usage) {
		for _, root := range m.s.further.all(m.s.pen.Process().Pid) {
			u := procs.Sum(root)
			all.Memory, all.Threads, all.CPU = all.Memory+u.Memory, all.Threads+u.Threads, all.CPU+u.CPU
		}
		return all
	}
	g := m.s.group
	if g == nil {
		u := sum()
		return u.Memory, u.Threads, u.CPU
	}
	u := g.Usage()
	if u.Memory == 0 || u.PIDs == 0 { // a group without that controller
		all := sum()
		u.Memory, u.PIDs = max(u.Memory, all.Memory), max(u.PIDs, all.Threads)
	}
	return u.Memory, u.PIDs, u.CPU
}

// idled says whether the session is to end because nothing goes on.
func (m *monitor) idled(now time.Time) bool {
	p := m.pulse()
	if p.Typed != m.typed {
		m.typed = p.Typed
		m.s.daemon.alive()
	}
	if m.isFrozen() {
		m.idle.Start(now, p) // somebody is to look at it first
		return false
	}
	return m.idle.Observe(now, p)
}

// limits records and shows what limits were hit since it last did. It sets next,
// and does nothing before that.
func (m *monitor) limits(final bool) {
	g := m.s.group
	if g == nil || m.next != nil && !final {
		return
	}
	now := g.Counts()
	old := m.told
	m.told = now
	p := m.s.cfg.Policy.Sandbox()
	for _, l := range []struct {
		kind   string
		n      uint64
		action string
		words  string
	}{
		{"oom-kill", now.OOMKills - old.OOMKills, "killed", fmt.Sprintf("the limit of memory (%d MiB) was reached: the kernel killed a process", p.Memory.V>>20)},
		{"memory", now.MemoryMax - old.MemoryMax, "refused", ""}, // mostly it is the page cache that gives way
		{"pids", now.PIDsMax - old.PIDsMax, "refused", fmt.Sprintf("the limit of %d processes was reached", p.PIDs.V)},
	} {
		if l.n == 0 {
			continue
		}
		m.s.record(audit.TypeLimit, &audit.Limit{Kind: l.kind, Count: l.n, Action: l.action})
		if l.words != "" && !m.shown[l.kind] {
			m.shown[l.kind] = true
			m.s.say.line("%s", l.words)
		}
		m.next = time.After(limitsEvery)
	}
}

// violation does what the policy says.
func (m *monitor) violation(v proxyctl.Violation) {
	reason := "violation: " + v.Kind
	if m.acted(v.Acted, reason) {
		return
	}
	switch m.s.cfg.Policy.Sandbox().OnViolation.V {
	case policy.Freeze:
		if m.isFrozen() {
			return
		}
		err := m.freeze(true, reason)
		if err == nil {
			m.sayFrozen(reason)
			return
		}
		// What can't be stopped is not left running.
		reason += ", and " + err.Error()
		fallthrough
	case policy.Kill:
		m.s.reason = reason
		m.s.say.line("%s: ending the session", escape(reason))
		m.s.record(audit.TypeControl, &audit.Control{Action: "kill", Reason: reason})
		m.s.pen.Close()
	}
}

// acted shows what the daemon does about a violation, and says whether it does
// anything: in a supervised session that is the daemon's to do.
func (m *monitor) acted(action, reason string) bool {
	switch action {
	case policy.Freeze:
		m.mu.Lock()
		m.frozen = true
		m.mu.Unlock()
		m.sayFrozen(reason)
		return true
	case policy.Kill:
		m.s.reason = reason
		return true // the daemon says it
	}
	return false
}

func (m *monitor) sayFrozen(reason string) {
	m.s.say.line("%s: the pen is frozen; go on with penstock resume %s, or end it with penstock kill %s", escape(reason), m.s.id, m.s.id)
}

func (m *monitor) isFrozen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen
}

var (
	errFrozen  = errors.New("the session is frozen already")
	errRunning = errors.New("the session is not frozen")
)

// freeze stops the pen, or lets it go on.
func (m *monitor) freeze(on bool, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case on && m.frozen:
		return errFrozen
	case !on && !m.frozen:
		return errRunning
	}
	if !on {
		// Recorded while the pen still stands.
		m.s.record(audit.TypeControl, &audit.Control{Action: "resume", Reason: reason})
		m.frozen = false
		return m.hold(false)
	}
	if err := m.hold(true); err != nil {
		return err
	}
	m.frozen = true
	m.s.record(audit.TypeControl, &audit.Control{Action: "freeze", Reason: reason})
	return nil
}

// hold stops the pen's processes, or lets them go on, by the best there is.
func (m *monitor) hold(on bool) error {
	switch {
	case m.s.group != nil:
		return m.s.group.Freeze(on)
	case m.s.daemon.freezes():
		return m.s.daemon.freeze(on)
	}
	var failed error
	for _, root := range m.s.further.all(m.s.pen.Process().Pid) {
		if on {
			failed = errors.Join(failed, procs.Stop(root))
		} else {
			procs.Continue(root)
		}
	}
	return failed
}

// running does f if the pen is not frozen, and none freezes it meanwhile.
func (m *monitor) running(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.frozen {
		return errFrozen
	}
	return f()
}

// live fills in what penstock ps shows.
func (m *monitor) live(st *registry.Status) {
	st.State = registry.Running
	if m.isFrozen() {
		st.State = registry.Frozen
	}
	if b := m.s.book; b != nil {
		st.Questions = len(b.List())
	}
	st.Memory, st.PIDs, st.CPU = m.usage()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n, err := m.s.proxy.client.Counts(ctx); err == nil {
		st.Flows, st.Denied, st.Violations = n.Flows, n.Denied, n.Violations
	}
}

// control is what the registry lets the session's owner do.
func (m *monitor) control(kill func()) registry.Control {
	c := registry.Control{Live: m.live, Kill: kill, Freeze: func(on bool) error {
		reason := "penstock resume"
		if on {
			reason = "penstock freeze"
		}
		return m.freeze(on, reason)
	}}
	c.Exec = m.s.takeFurther
	if b := m.s.book; b != nil {
		c.Questions, c.Answer = b.List, b.Answer
	}
	return c
}

// expire ends the command at a limit of time, with a moment to tidy up. A frozen
// one has none.
func (m *monitor) expire(kind, reason string) *time.Timer {
	m.s.reason = reason
	m.s.say.line("%s: ending the command", reason)
	m.s.record(audit.TypeLimit, &audit.Limit{Kind: kind, Detail: reason, Action: "ended"})
	if m.isFrozen() {
		go m.s.pen.Close()
	}
	m.s.tool.signal(syscall.SIGTERM)
	return time.AfterFunc(killGrace, func() { m.s.pen.Close() })
}
