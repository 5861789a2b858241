package events

import "github.com/penstock/penstock/hooks"

// Executed is a process that executed a file; or, with More, it stands for many.
type Executed struct {
	Who  *hooks.Process // nil with More
	More uint64         // were not told by themselves since that was last told
}

// Opened is a watched file that was opened, or that somebody tried to open; or, with
// More, it stands for many.
type Opened struct {
	Who   *hooks.Process // nil with More, or if it is not known
	Path  string
	Write bool
	Errno int // 0: it was opened
	More  uint64
}

// Bounds of what is told one by one.
const (
	mostExecuted = 1024
	mostOpened   = 512
)

// attempt is what is told once of one process.
type attempt struct {
	id     ID
	path   string
	write  bool
	failed bool
}

// told is what was told of executions and of opened files.
type told struct {
	executed, opened tally
	attempts         map[attempt]struct{} // those that were told by themselves
}

func (w *Watcher) executed(e *Event) {
	if w.opts.Executed == nil {
		return
	}
	x := &Executed{}
	switch {
	case len(w.queue) < mostNotices && w.told.executed.one(mostExecuted):
		x.Who = w.process(e)
	case w.told.executed.more():
		x.More = w.told.executed.flush()
	default:
		return
	}
	w.queue = append(w.queue, notice{executed: x})
}

func (w *Watcher) opened(e *Event) {
	if w.opts.Opened == nil {
		return
	}
	a := attempt{e.ID, e.Path, e.Write, e.Code != 0}
	if _, before := w.told.attempts[a]; before {
		return
	}
	x := &Opened{}
	switch {
	case len(w.queue) < mostNotices && w.told.opened.one(mostOpened):
		if w.told.attempts == nil {
			w.told.attempts = map[attempt]struct{}{}
		}
		w.told.attempts[a] = struct{}{}
		*x = Opened{Who: w.process(e), Path: e.Path, Write: e.Write, Errno: e.Code}
	case w.told.opened.more():
		x.More = w.told.opened.flush()
	default:
		return
	}
	w.queue = append(w.queue, notice{opened: x})
}

// rest queues what is left to be told when the session ends.
func (w *Watcher) rest() {
	if w.opts.Ended != nil {
		for c := range w.ends.tally {
			if w.ends.tally[c].rest > 0 {
				x := w.ends.flush(c)
				w.queue = append(w.queue, notice{ended: &x})
			}
		}
	}
	if n := w.told.executed.flush(); n > 0 {
		w.queue = append(w.queue, notice{executed: &Executed{More: n}})
	}
	if n := w.told.opened.flush(); n > 0 {
		w.queue = append(w.queue, notice{opened: &Opened{More: n}})
	}
}
