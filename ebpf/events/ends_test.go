package events

import (
	"slices"
	"testing"
)

func endOf(id ID, code, flags uint32) []byte { return head(Exit, id, 1).u32(code).u32(flags).b }

func denyOf(id ID) []byte {
	return head(Deny, id, 1).u64(0).u64(0).u16(443).u16(1).u16(2).u16(3).u32(6).u32(0).b
}

// endings is a watcher whose ends are gathered.
type endings struct {
	*Watcher
	told []Ended
}

func newEndings() *endings {
	w := &endings{Watcher: newTest()}
	w.opts.Ended = func(x Ended) { w.told = append(w.told, x) }
	return w
}

// tellAll passes on what waits, as tell does.
func (w *endings) tellAll() []Ended {
	for _, n := range w.queue {
		if n.ended != nil {
			w.opts.Ended(*n.ended)
		}
	}
	w.queue = nil
	return w.told
}

func TestEnded(t *testing.T) {
	w := newEndings()
	bwrap, inner, sh, tool := ID{10, 1}, ID{11, 2}, ID{12, 3}, ID{13, 4}
	w.take(execOf(bwrap, 1, ID{1, 1}, "/usr/bin/bwrap", "bwrap"))
	w.take(forkOf(bwrap, 1, inner))
	w.take(forkOf(inner, 1, sh))
	w.take(execOf(sh, 1, inner, "/bin/sh", "sh", "sh"))
	next := func(code, flags uint32, before ...func(ID) []byte) {
		tool = ID{tool.PID + 1, tool.Start + 1}
		w.take(forkOf(sh, 1, tool))
		for _, f := range before {
			w.take(f(tool))
		}
		w.take(endOf(tool, code, flags))
	}
	flow := func(id ID) []byte { return flowOf(id, 1, "192.0.0.8:1", "1.2.3.4:443") }
	next(0, 0)
	next(7<<8, 0)
	next(7<<8, 0, flow, flow, denyOf)
	next(11|0x80, 0) // dumped core
	next(9, flagOOM, flow)
	next(15, flagOOM) // was ending for another reason
	next(0, flagOOM)
	next(0x7f, 0) // no such signal
	for range 5 { // told more than once
		w.take(endOf(tool, 6, 0))
	}
	w.take(forkOf(sh, 1, ID{500, 500}))
	w.take(endOf(sh, 9, 0)) // as any other
	w.take(endOf(inner, 0, 0))
	for i := range 100 { // of the pen's end
		w.take(execOf(ID{500 + i, 500}, 1, inner, "/x", "x"))
		w.take(endOf(ID{500 + i, 500}, 9, 0))
	}
	for i, b := range [][]byte{endOf(ID{400, 400}, 11, 0), endOf(ID{401, 400}, 9, flagOOM)} { // not of it
		w.take(execOf(ID{400 + i, 400}, 1, inner, "/x", "x"))
		w.take(b)
	}
	type short struct {
		pid, code, signal int
		oom               bool
		flows, refusals   uint64
	}
	var got []short
	for _, x := range w.tellAll() {
		got = append(got, short{x.Who.PID, x.Code, x.Signal, x.OOM, x.Connections, x.Refusals})
		if x.More != 0 {
			t.Errorf("%+v", x)
		}
	}
	want := []short{{16, 7, 0, false, 2, 1}, {17, 0, 11, false, 0, 0}, {18, 0, 9, true, 1, 0}, {19, 0, 15, false, 0, 0}, {21, 0, 127, false, 0, 0},
		{12, 0, 9, false, 0, 0}, {400, 0, 11, false, 0, 0}, {401, 0, 9, true, 0, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("told of\n%v, want\n%v", got, want)
	}
	if s, want := w.ends.sums, (Ends{Execs: 2 + 102, Exits: 8 + 2 + 102, Signals: 4 + 1 + 102}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

// TestPenEnds: a process of the tool's is not taken for the pen's first one, whose
// end would hide how others ended.
func TestPenEnds(t *testing.T) {
	w := newEndings()
	bwrap, other, inner, tool := ID{10, 1}, ID{11, 2}, ID{12, 3}, ID{13, 4}
	w.take(execOf(bwrap, 1, ID{1, 1}, "/usr/bin/penstock", "penstock"))
	w.take(forkOf(bwrap, 1, other)) // of the same program, before that becomes bwrap
	w.take(execOf(bwrap, 1, ID{1, 1}, "/usr/bin/bwrap", "bwrap"))
	w.take(forkOf(bwrap, 1, inner))
	w.take(forkOf(inner, 1, tool)) // of the same program, but not the child of the first
	for _, id := range []ID{other, tool} {
		w.take(endOf(id, 9, 0))
	}
	if n := len(w.tellAll()); n != 2 {
		t.Errorf("%d ends are told", n)
	}
	w.take(endOf(bwrap, 0, 0))
	w.take(endOf(inner, 9, 0))
	if n := len(w.tellAll()); n != 2 {
		t.Errorf("%d ends are told", n)
	}
}

// TestManyEnds: what is told one by one is bounded for each way to end, and the
// others are told by their number, all of them.
func TestManyEnds(t *testing.T) {
	w := newEndings()
	sh := ID{2, 2}
	w.take(execOf(ID{1, 1}, 1, ID{}, "/usr/bin/bwrap", "bwrap"))
	w.take(execOf(sh, 1, ID{1, 1}, "/bin/sh", "sh"))
	const each = 5000
	for i := range each {
		for sig := range uint32(128) {
			id := ID{100 + i, 1 + uint64(sig)}
			if w.take(forkOf(sh, 1, id)); sig == 0 {
				w.take(flowOf(id, 1, "192.0.0.8:1", "1.2.3.4:443"))
			}
			w.take(endOf(id, sig, 0))
		}
		w.take(forkOf(sh, 1, ID{50, uint64(i)}))
		w.take(endOf(ID{50, uint64(i)}, 9, flagOOM))
		if len(w.queue) > mostNotices+causes*6 {
			t.Fatalf("%d notices wait", len(w.queue))
		}
	}
	if w.missed != 0 {
		t.Errorf("%d were missed", w.missed)
	}
	w.rest()
	sum, single := uint64(0), uint64(0)
	for _, x := range w.tellAll() {
		sum += x.More
		if x.More == 0 {
			single++
		}
	}
	if single+sum != 129*each || len(w.told) > mostConnected+65*(mostBySignal+6) {
		t.Errorf("%d one by one, %d counted, in %d notices", single, sum, len(w.told))
	}
	if s := w.ends.sums; s.Exits != 129*each || s.Signals != 128*each {
		t.Errorf("%+v", s)
	}
}
