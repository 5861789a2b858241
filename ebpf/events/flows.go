package events

import (
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// mostFlows bounds the connections that were announced and not asked for.
const mostFlows = 16 << 10

// key is a connection's two ends.
type key struct{ client, local netip.AddrPort }

type announced struct {
	seq uint64
	who *hooks.Process
}

// flows are the connections that were announced and not yet accepted.
type flows struct {
	byEnds map[key][]announced
	order  []place // oldest first; some are answered already
	seq    uint64
}

type place struct {
	key key
	seq uint64
}

func newFlows() *flows { return &flows{byEnds: map[key][]announced{}} }

func (f *flows) add(k key, who *hooks.Process) {
	f.seq++
	f.byEnds[k] = append(f.byEnds[k], announced{f.seq, who})
	f.order = append(f.order, place{k, f.seq})
	if len(f.order) <= mostFlows {
		return
	}
	// The older half goes at once, so that the slice is not moved each time.
	half := len(f.order) / 2
	for _, p := range f.order[:half] {
		f.forget(p)
	}
	f.order = append(f.order[:0], f.order[half:]...)
}

func (f *flows) forget(p place) {
	list := f.byEnds[p.key]
	for i, a := range list {
		if a.seq == p.seq {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(f.byEnds, p.key)
	} else {
		f.byEnds[p.key] = list
	}
}

// take returns who announced a connection, and whether anybody did. When more
// than one process may be it (an earlier connection with the same ends was given
// up before it was accepted), nobody is.
func (f *flows) take(k key) (who *hooks.Process, found bool) {
	list := f.byEnds[k]
	if len(list) == 0 {
		return nil, false
	}
	who = list[0].who
	for _, a := range list[1:] {
		if !same(a.who, who) {
			who = nil
			break
		}
	}
	delete(f.byEnds, k)
	return who, true
}

// same tells whether two connections were made by one process while it ran one
// executable.
func same(a, b *hooks.Process) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.PID == b.PID && a.Start == b.Start && a.UID == b.UID && a.Exe == b.Exe && a.Parent == b.Parent
}
