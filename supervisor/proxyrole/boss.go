//go:build linux || darwin

package proxyrole

import (
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/ebpf/events"
)

// boss is the privileged supervisor's part in a session of its own.
type boss interface {
	// awaitAdmission returns when the pen is verified.
	awaitAdmission() error
	// attest puts its word in the place of the caller's.
	attest(*audit.SessionStart)
	// act has it do what the policy says about a violation, and tells what that is.
	act(e *engine, kind string) string
	// events are the kernel's, nil without them.
	events() *events.Watcher
	// closed tells it what the audit's last record is.
	closed(e *engine)
}

// watcher tells what the kernel sees of the pen, nil if nobody asks it.
func (e *engine) watcher() *events.Watcher {
	if e.boss == nil {
		return nil
	}
	return e.boss.events()
}
