package events

import "github.com/penstock/penstock/hooks"

// Ended is a process that ended, in a way that Options.Ended is told of: by a
// signal (but not by the pen's end), or having made connections or been refused
// something. Or, with More, it stands for many.
type Ended struct {
	Who    *hooks.Process // as it was last; nil with More
	Code   int            // exit code; 0 with a signal
	Signal int            // what ended it; 0: nothing did
	OOM    bool           // the kernel chose it when memory ran out
	// Connections and Refusals are what was told of it before.
	Connections, Refusals uint64
	// More is how many have ended in this way (Signal, OOM) since that was last
	// told, none of which was told by itself.
	More uint64

	over bool // the pen was ending
}

// Ends are the sums of a session, as far as no event was lost.
type Ends struct {
	Execs   uint64 // executions
	Exits   uint64 // processes that ended
	Signals uint64 // of those by a signal
}

// Bounds of what is told one by one. A tool can end processes as fast as it can
// fork, in each of the ways that there are.
const (
	mostBySignal  = 32   // of each signal, and of want of memory
	mostConnected = 1024 // of the others: each of these is in the records of its flows too
)

// Causes of ends: 1 to 64 are the signals.
const (
	causeOther = 0
	causeOOM   = 65
	causes     = 66
)

// ends decides which ends are told one by one, and counts the rest.
type ends struct {
	sums  Ends
	tally [causes]tally
}

const sigKill = 9

// ended fills in how e, an Exit, came about.
func ended(e *Event) Ended {
	x := Ended{Signal: e.Code & 0x7f}
	if x.Signal == 0 {
		x.Code = e.Code >> 8 & 0xff
	}
	// One that was ending already may have been chosen for the sake of its memory.
	x.OOM = e.OOM && x.Signal == sigKill
	return x
}

func (x *Ended) cause() int {
	switch {
	case x.OOM:
		return causeOOM
	case x.Signal >= causeOOM: // no kernel has it
		return causeOOM - 1
	}
	return x.Signal
}

// take counts an end. tell is whether to tell of it; it may have become one for
// many.
func (s *ends) take(x *Ended) (tell bool) {
	s.sums.Exits++
	if x.Signal != 0 {
		s.sums.Signals++
		if x.over && x.Signal == sigKill && !x.OOM {
			return false // the kernel's way to end what is left
		}
	} else if x.Connections+x.Refusals == 0 {
		return false
	}
	c := x.cause()
	most := uint64(mostBySignal)
	if c == causeOther {
		most = mostConnected
	}
	if s.tally[c].one(most) {
		return true
	}
	return s.more(x)
}

// more counts an end that is not told by itself.
func (s *ends) more(x *Ended) (tell bool) {
	c := x.cause()
	if !s.tally[c].more() {
		return false
	}
	*x = s.flush(c)
	return true
}

func (s *ends) flush(c int) Ended {
	x := Ended{Signal: c, More: s.tally[c].flush()}
	if c == causeOOM {
		x.Signal, x.OOM = sigKill, true
	}
	return x
}
