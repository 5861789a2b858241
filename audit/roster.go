package audit

import (
	"sync"

	"github.com/penstock/penstock/hooks"
)

// Bounds of a Roster: what it remembers, and how far up it goes.
const (
	maxRoster  = 4096
	maxParents = 64
)

// Roster numbers the processes that flows name. Each is recorded once, its
// parents before it, so that a flow says only the number and a session's file has
// all there is to know. It is safe for concurrent use.
//
// A tool can start more processes than are remembered; then one that comes again
// is recorded again, under another number.
type Roster struct {
	record interface{ Append(Event) error }
	redact func(string) string

	mu      sync.Mutex
	numbers map[identity]uint64
	last    uint64
}

// identity is what is recorded of a process. The thread is not: it is the flow's,
// and one process can come with as many values as it has threads.
type identity struct {
	pid, uid int
	start    uint64
	exe      hooks.Executable
	args     *string // of the first one: values of one process share them
	count    int
	cgroup   string
	parent   *hooks.Process
	shared   bool
	saidBy   string
}

func identify(p *hooks.Process) identity {
	id := identity{pid: p.PID, uid: p.UID, start: p.Start, exe: p.Exe, count: len(p.Args), cgroup: p.Cgroup, parent: p.Parent, shared: p.Shared, saidBy: p.SaidBy}
	if len(p.Args) > 0 {
		id.args = &p.Args[0]
	}
	return id
}

// NewRoster returns an empty Roster that writes to record. redact takes secrets
// out of arguments; nil leaves them as they are.
func NewRoster(record interface{ Append(Event) error }, redact func(string) string) *Roster {
	return &Roster{record: record, redact: redact, numbers: make(map[identity]uint64)}
}

// Number returns p's number, 0 for nil. If p has none yet it is recorded first;
// an error is Append's.
func (r *Roster) Number(p *hooks.Process) (uint64, error) {
	if p == nil {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.numbers[identify(p)]; n != 0 {
		return n, nil
	}
	chain := []*hooks.Process{p}
	for up := p.Parent; up != nil && r.numbers[identify(up)] == 0 && len(chain) < maxParents; up = up.Parent {
		chain = append(chain, up)
	}
	if len(r.numbers)+len(chain) > maxRoster {
		clear(r.numbers)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if err := r.add(chain[i]); err != nil {
			return 0, err
		}
	}
	return r.last, nil
}

// Exit describes the end of p, which is not recorded here: with its number if it
// has one, and else with what a record of the number would have.
func (r *Roster) Exit(p *hooks.Process) Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.describe(p)
	e.Action, e.Number = "exit", r.numbers[identify(p)]
	if e.Number != 0 {
		e.Argv = nil
	}
	return e
}

// Executed describes what p executes, with its number if it has one. It is not recorded
// here.
func (r *Roster) Executed(p *hooks.Process) Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.describe(p)
	e.Action, e.Number = "exec", r.numbers[identify(p)]
	return e
}

func (r *Roster) describe(p *hooks.Process) Process {
	e := Process{
		PID: p.PID, UID: p.UID, Start: p.Start,
		Exe: p.Exe.Path, Dev: p.Exe.Dev, Ino: p.Exe.Ino, SHA256: p.Exe.SHA256, Argv: p.Args, Cgroup: p.Cgroup, Shared: p.Shared, SaidBy: p.SaidBy,
	}
	if p.Parent != nil {
		e.Parent, e.PPID = r.numbers[identify(p.Parent)], p.Parent.PID
	}
	if r.redact != nil {
		e.Argv = make([]string, len(p.Args))
		for i, a := range p.Args {
			e.Argv[i] = r.redact(a)
		}
	}
	return e
}

func (r *Roster) add(p *hooks.Process) error {
	e := r.describe(p)
	e.Action, e.Number = "seen", r.last+1
	if err := r.record.Append(&e); err != nil {
		return err
	}
	r.last++
	r.numbers[identify(p)] = r.last
	return nil
}
