package events

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Options of Open.
type Options struct {
	// CgroupID and Cgroup are number and path of the session's group: what
	// hooks.Process.Cgroup says for processes in it.
	CgroupID uint64
	Cgroup   string
	// Notify, if not nil, gets each Deny, in order, with the process as it was
	// then, from one goroutine. It is called with nothing locked; what it does not
	// keep up with is left out and counted.
	Notify func(e Event, who *hooks.Process)
	// Ended, if not nil, is told of processes that ended by a signal, or that had
	// made connections or been refused something: of each of the first ones, then
	// of how many more. The same goroutine, in order with Notify.
	Ended func(Ended)
	// Executed and Opened, if not nil, are told of executions and of watched files,
	// of the first ones by themselves. The same goroutine.
	Executed func(Executed)
	Opened   func(Opened)
	// SaidBy is put into each process that is told of.
	SaidBy string
	// Lost, if not nil, is told how many events were lost since it was last
	// told: in the ring, or because Notify was too slow. The same goroutine.
	Lost func(n uint64)
}

// mostNotices bounds what waits for Notify.
const mostNotices = 1024

// Watcher follows one session. Its methods may be called concurrently.
type Watcher struct {
	opts Options
	file *os.File
	raw  syscall.RawConn

	mu     sync.Mutex
	ring   source
	tree   *tree
	flows  *flows
	ends   ends
	told   told
	lost   uint64
	bad    uint64
	queue  []notice
	missed uint64
	closed bool

	kick chan struct{}
	done sync.WaitGroup
}

// source is where records come from.
type source interface {
	drain(f func([]byte)) state
	unmap() error
}

// notice is one of these.
type notice struct {
	event    Event
	who      *hooks.Process // of event
	ended    *Ended
	executed *Executed
	opened   *Opened
}

// Open begins to follow the session whose ring f is, and takes f over.
func Open(f *os.File, o Options) (*Watcher, error) {
	m, err := mapRing(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	file, err := pollable(f)
	if err != nil {
		f.Close()
		return nil, errors.Join(fmt.Errorf("watch ring of events: %w", err), m.unmap())
	}
	return begin(file, m, o)
}

// begin follows what comes from a source that is read when file can be.
func begin(file *os.File, from source, o Options) (w *Watcher, err error) {
	w = &Watcher{opts: o, file: file, ring: from, flows: newFlows(), kick: make(chan struct{}, 1)}
	w.tree = newTree(func(id uint64) string {
		if id == o.CgroupID {
			return o.Cgroup
		}
		return ""
	})
	w.tree.by = o.SaidBy
	if w.raw, err = file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch events: %w", err), file.Close(), from.unmap())
	}
	w.done.Add(2)
	go w.watch()
	go w.tell()
	return w, nil
}

// watch drains the ring when the kernel says that it fills up, or that something
// was refused.
func (w *Watcher) watch() {
	defer w.done.Done()
	// Ends with an error when the file is closed.
	_ = w.raw.Read(func(uintptr) bool {
		for {
			w.mu.Lock()
			st, closed := w.drain(), w.closed
			w.mu.Unlock()
			if st != more {
				return closed
			}
		}
	})
}

// tell passes notices on.
func (w *Watcher) tell() {
	defer w.done.Done()
	told := uint64(0)
	for range w.kick {
		w.mu.Lock()
		queue, lost := w.queue, w.lost+w.missed+w.bad
		w.queue = nil
		w.mu.Unlock()
		for _, n := range queue {
			switch {
			case n.ended != nil:
				w.opts.Ended(*n.ended)
			case n.executed != nil:
				w.opts.Executed(*n.executed)
			case n.opened != nil:
				w.opts.Opened(*n.opened)
			default:
				w.opts.Notify(n.event, n.who)
			}
		}
		if lost > told && w.opts.Lost != nil {
			w.opts.Lost(lost - told)
		}
		told = lost
	}
}

// drain takes in what is in the ring. w.mu is held.
func (w *Watcher) drain() state {
	if w.closed {
		return broken
	}
	before, waiting := w.lost+w.missed+w.bad, len(w.queue)
	st := w.ring.drain(w.take)
	if w.lost+w.missed+w.bad != before || len(w.queue) != waiting {
		select {
		case w.kick <- struct{}{}:
		default:
		}
	}
	return st
}

// take takes in one record.
func (w *Watcher) take(b []byte) {
	e, err := Parse(b)
	if err != nil {
		w.bad++
		return
	}
	if e.Lost > w.lost {
		w.lost = e.Lost
	}
	switch e.Kind {
	case Flow:
		w.flows.add(key{e.Source, e.Target}, w.process(&e))
		if n := w.tree.find(e.ID); n != nil {
			n.connections++
		}
	case Fork:
		w.tree.fork(&e)
	case Exec:
		w.tree.execute(&e)
		w.ends.sums.Execs++
		w.executed(&e)
	case Access:
		w.opened(&e)
	case Exit:
		w.exit(&e)
	case Deny:
		w.notice(&e)
		if n := w.tree.find(e.ID); n != nil {
			n.refusals++
		}
	}
}

// exit takes in a process's end. One that is not in the tree has ended already: of
// two threads that end at the same moment both may be taken for the last. Or its
// beginning was lost, which Lost says.
func (w *Watcher) exit(e *Event) {
	n := w.tree.find(e.ID)
	if n == nil {
		return
	}
	x := ended(e)
	x.Connections, x.Refusals = n.connections, n.refusals
	x.over = w.tree.over
	tell := w.ends.take(&x)
	if tell && x.More == 0 && len(w.queue) >= mostNotices {
		tell = w.ends.more(&x)
	}
	if tell && w.opts.Ended != nil {
		if x.More == 0 {
			x.Who = w.process(e)
		}
		w.queue = append(w.queue, notice{ended: &x})
	}
	w.tree.exit(e)
}

// Ends sums up what has come so far.
func (w *Watcher) Ends() Ends {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	return w.ends.sums
}

// process is who did e, at that moment; nil if the kernel does not say.
func (w *Watcher) process(e *Event) *hooks.Process {
	if e.ID.PID == 0 {
		return nil
	}
	p := *w.tree.actor(e).image
	p.TID, p.UID = e.TID, e.UID
	return &p
}

func (w *Watcher) notice(e *Event) {
	if w.opts.Notify == nil {
		return
	}
	if len(w.queue) >= mostNotices {
		w.missed++
		return
	}
	w.queue = append(w.queue, notice{event: *e, who: w.process(e)})
}

// Waits for a record that is being written: its writer was put off the processor
// between two instructions.
const (
	firstWait = 50 * time.Microsecond
	mostWait  = 50 * time.Millisecond
)

// Who returns the process that made a connection that was accepted: client is
// the other end's address, local our own, which is where it was meant to go. Each
// connection can be asked for once. nil means not known: an event was lost, or
// more than one process may be it.
func (w *Watcher) Who(ctx context.Context, client, local netip.AddrPort) *hooks.Process {
	k := key{plain(client), plain(local)}
	for wait := firstWait; ; wait *= 2 {
		w.mu.Lock()
		st := w.drain()
		who, found := w.flows.take(k)
		w.mu.Unlock()
		if found || st != busy && st != more || wait > mostWait {
			return who
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Still tells whether a process that Who has returned lives and executes the same
// file.
func (w *Watcher) Still(who *hooks.Process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	n := w.tree.find(ID{who.PID, who.Start})
	return n != nil && n.image.Exe.Dev == who.Exe.Dev && n.image.Exe.Ino == who.Exe.Ino
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Lost is how many events were lost so far.
func (w *Watcher) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	return w.lost + w.missed + w.bad
}

// Close takes in what is left in the ring, passes it on, and ends. It may be
// called twice.
func (w *Watcher) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.drain()
	w.rest()
	w.closed = true
	w.mu.Unlock()
	err := w.file.Close()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	close(w.kick)
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(err, w.ring.unmap())
}
