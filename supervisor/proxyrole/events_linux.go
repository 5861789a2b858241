package proxyrole

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// watch reads who opened each connection, and what the kernel refused, from the
// session's ring of events. What was lost there is a record.
func (s *supervised) watch(e *engine, ring *os.File) error {
	w, err := events.Open(ring, events.Options{
		CgroupID: s.assign.Group, Cgroup: s.assign.Cgroup,
		Notify: func(ev events.Event, who *hooks.Process) {
			target := hooks.Target{Addr: ev.Target.Addr(), Port: ev.Target.Port()}
			if ev.Why != events.DeniedAddress || !e.proxy.Refused(target, who) {
				e.writer.Note(refusal(&ev, who))
			}
		},
		Ended: func(x events.Ended) { e.writer.Note(e.exit(&x)) },
		Lost: func(n uint64) {
			e.writer.Note(&audit.Loss{Count: n, Reason: "kernel events", Detail: "of processes, connections and refusals: some connections have no process"})
		},
	})
	if err != nil {
		return err
	}
	s.watcher = w
	return nil
}

// refusal is what the audit says of something that the kernel refused.
func refusal(ev *events.Event, who *hooks.Process) *audit.Drop {
	d := &audit.Drop{Protocol: protocolName(uint8(ev.Protocol)), Destination: ev.Target, Count: 1}
	if ev.Why == events.DeniedSocket {
		d.Protocol = fmt.Sprintf("socket %d/%d/%d", ev.Family, ev.Type, ev.Protocol)
	}
	if who != nil {
		d.PID = who.PID
	}
	return d
}

// attribute settles whose word says who opened a connection: the kernel's where
// there are events. The caller's is asked for the content of an executable only,
// which the kernel does not know, or where there are no events and no rule of
// the administrator's depends on it.
func (s *supervised) attribute(e *engine, floor *policy.File) {
	var caller whoFunc
	if e.asker != nil {
		caller = e.asker.Who
	}
	switch {
	case s.watcher == nil && floor != nil && floor.NeedsProcess():
		e.attribute(func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return nil })
	case s.watcher == nil:
		// As newEngine has it.
	case caller != nil && e.cfg.Policy.NeedsHash():
		e.attribute(func(ctx context.Context, client, server netip.AddrPort) *hooks.Process {
			return withContent(s.watcher.Who(ctx, client, server), caller(ctx, client, server))
		})
	default:
		e.attribute(s.watcher.Who)
	}
}

// withContent is kernel with the content of its executable, if the caller means
// the same process and file.
func withContent(kernel, caller *hooks.Process) *hooks.Process {
	if kernel == nil || caller == nil || kernel.PID != caller.PID || kernel.Exe.Dev != caller.Exe.Dev || kernel.Exe.Ino != caller.Exe.Ino {
		return kernel
	}
	p := *kernel
	p.Exe.SHA256 = caller.Exe.SHA256
	return &p
}

// recordLimits records what limits the pen has hit, and shows the user the first
// of each kind.
func (s *supervised) recordLimits(e *engine, l *bossctl.Limits) {
	for _, h := range []struct {
		kind, action string
		n            uint64
		words        string
	}{
		{"oom-kill", "killed", l.OOMKills, "the limit of memory was reached: the kernel killed a process"},
		{"memory", "refused", l.MemoryMax, ""}, // mostly it is the page cache that gives way
		{"pids", "refused", l.PIDsMax, "the limit of processes was reached"},
	} {
		if h.n == 0 {
			continue
		}
		if err := e.writer.Append(&audit.Limit{Kind: h.kind, Count: h.n, Action: h.action}); err != nil {
			e.notice(err.Error())
		}
		if h.words != "" && !s.shown[h.kind] {
			s.shown[h.kind] = true
			e.notice(h.words)
		}
	}
}
