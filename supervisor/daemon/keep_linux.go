package daemon

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/penstock/penstock/sandbox/procs"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/idle"
)

// lateness is how much longer than its limits of time a session may last here. The
// caller's side ends the command in time, with a moment to tidy up; this is for one
// that does not.
const lateness = 10 * time.Second

// keeper holds a session to its policy while its pen runs: limits of time, and
// what is done about violations.
type keeper struct {
	s    *session
	over chan struct{}
	done chan struct{}

	holding sync.Mutex // while the pen is being stopped or let go on
	ended   bool       // the pen is not to be touched any more; holding's

	mu     sync.Mutex
	frozen bool
	typed  uint64 // how often the caller said that its terminal was used
	acting bool   // a violation is being acted on
}

// keep begins it, when the pen is verified.
func (s *session) keep() {
	k := s.keeper
	s.push(k.end)
	go k.run(s.open.Limits.Wall, s.open.Limits.Idle, s.c.d.cfg.late)
}

func newKeeper(s *session) *keeper {
	return &keeper{s: s, over: make(chan struct{}), done: make(chan struct{})}
}

func (k *keeper) end() {
	close(k.over)
	<-k.done
}

// letGo returns when nothing works on the pen's group any more. The pen is dead by
// then.
func (k *keeper) letGo() {
	k.holding.Lock()
	k.ended = true
	k.holding.Unlock()
}

// run watches the time until the session's end.
func (k *keeper) run(wall, still, late time.Duration) {
	defer close(k.done)
	var ended, look <-chan time.Time
	if wall > 0 {
		t := time.NewTimer(wall + late)
		defer t.Stop()
		ended = t.C
	}
	clock := idle.Clock{Limit: still + late}
	if still > 0 {
		clock.Start(time.Now(), k.pulse())
		t := time.NewTicker(clock.Slice())
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-k.over:
			return
		case <-ended:
			ended = nil
			k.s.cancel(fmt.Sprintf("time limit of %s", wall))
		case now := <-look:
			p := k.pulse()
			if k.isFrozen() {
				clock.Start(now, p) // somebody is to look at it first
			} else if clock.Observe(now, p) {
				look = nil
				k.s.cancel(fmt.Sprintf("idle for %s", still))
			}
		}
	}
}

// pulse is what the pen did so far. What the kernel does not say counts as nothing,
// which a pen that is ending is right about.
func (k *keeper) pulse() idle.Pulse {
	s := k.s
	var p idle.Pulse
	p.Traffic, _ = procs.Traffic(s.builder.pid)
	k.mu.Lock()
	p.Typed = k.typed
	k.mu.Unlock()
	if s.group == nil {
		p.CPU = procs.Sum(s.builder.pid).CPU
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.removed {
		p.CPU = s.group.Usage().CPU
	}
	return p
}

func (k *keeper) isFrozen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.frozen
}

// alive notes that the caller's terminal was used.
func (k *keeper) alive() {
	k.mu.Lock()
	k.typed++
	k.mu.Unlock()
}

// errFreezer says that the machine can't stop a pen.
var errFreezer = errors.New("there is no control group that could stop the pen")

// freeze stops the pen's processes, or lets them go on.
func (k *keeper) freeze(on bool) error {
	k.holding.Lock()
	defer k.holding.Unlock()
	switch {
	case k.s.group == nil:
		return errFreezer
	case k.ended:
		return errGone
	}
	if err := k.s.group.Freeze(on); err != nil {
		return err
	}
	k.mu.Lock()
	k.frozen = on
	k.mu.Unlock()
	return nil
}

// violated does what the policy says, as its proxy has read it, and returns at
// once. What comes while that is being done is not looked at: a pen that is being
// stopped or killed commits no other.
func (k *keeper) violated(v *bossctl.Violated) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.acting {
		return
	}
	k.acting = true
	go func() {
		reason := "violation: " + v.Kind
		frozen := false
		if v.Action == bossctl.ActionKill {
			k.s.cancel(reason)
		} else if err := k.freeze(true); err != nil {
			// What can't be stopped is not left running.
			k.s.cancel(reason + ", and " + err.Error())
		} else {
			frozen = true
		}
		k.mu.Lock()
		k.acting = false
		k.mu.Unlock()
		if frozen { // the next one that it tells of after that is looked at
			k.s.proxy.send(&bossctl.Message{Op: bossctl.OpFrozen}) //nolint:errcheck // then it ends
		}
	}()
}
