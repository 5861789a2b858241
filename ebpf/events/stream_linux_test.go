package events

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// framed puts records behind their lengths.
func framed(records ...[]byte) (b []byte) {
	for _, r := range records {
		b = append(binary.NativeEndian.AppendUint16(b, uint16(len(r))), r...)
	}
	return b
}

// heard is what a Watcher has told of.
type heard struct {
	executed []Executed
	opened   []Opened
	ended    []Ended
	lost     uint64
}

// follow returns a Watcher of a pipe, and the end to write to. After close what it
// has told of can be read.
func follow(t testing.TB) (w *Watcher, pen *os.File, h *heard) {
	r, pen, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	h = &heard{}
	w, err = Follow(r, Options{
		SaidBy:   "the pen",
		Executed: func(x Executed) { h.executed = append(h.executed, x) },
		Opened:   func(x Opened) { h.opened = append(h.opened, x) },
		Ended:    func(x Ended) { h.ended = append(h.ended, x) },
		Lost:     func(n uint64) { h.lost += n },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pen.Close(); w.Close() })
	return w, pen, h
}

// TestFollow: what a process of the pen tells is as what the kernel tells, but that it
// says so.
func TestFollow(t *testing.T) {
	w, pen, h := follow(t)
	sh, cat := ID{1, 10}, ID{2, 20}
	all := framed(
		execOf(sh, 1, ID{}, "/bin/sh", "sh", "sh", "-c", "x"), forkOf(sh, 1, cat),
		execOf(cat, 2, sh, "/bin/cat", "cat", "cat", "key"),
		accessOf(cat, 2, "/home/a/.ssh/key", false, 2), accessOf(cat, 2, "/home/a/.ssh/key", false, 2),
		accessOf(cat, 2, "/home/a/.ssh/key", true, 0),
		flowOf(cat, 2, "127.0.0.1:4000", "1.2.3.4:443"), head(Exit, cat, 2).u32(9).u32(0).b,
	)
	for i := range all { // a record may come in pieces
		if _, err := pen.Write(all[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	p := w.ask(t, "127.0.0.1:4000", "1.2.3.4:443")
	if p == nil || p.PID != 2 || p.Exe.Path != "/bin/cat" || p.SaidBy != "the pen" || p.Parent == nil || p.Parent.SaidBy != "the pen" || !slices.Equal(p.Parent.Args, []string{"sh", "-c", "x"}) {
		t.Errorf("%+v", p)
	}
	w.Close()
	if len(h.executed) != 2 || h.executed[1].Who.Exe.Path != "/bin/cat" || h.executed[1].Who.SaidBy != "the pen" {
		t.Errorf("executed: %+v", h.executed)
	}
	if len(h.opened) != 2 || h.opened[0].Errno != 2 || h.opened[0].Write || h.opened[1].Errno != 0 || !h.opened[1].Write || h.opened[0].Who.PID != 2 || h.opened[0].Path != "/home/a/.ssh/key" {
		t.Errorf("opened: %+v", h.opened)
	}
	if len(h.ended) != 1 || h.ended[0].Signal != 9 || h.lost != 0 {
		t.Errorf("ended: %+v, %d lost", h.ended, h.lost)
	}
}

// TestFollowWaits: a connection may be asked for before it is told of.
func TestFollowWaits(t *testing.T) {
	w, pen, _ := follow(t)
	asking := make(chan struct{})
	go func() {
		close(asking)
		pen.Write(framed(flowOf(ID{5, 50}, 1, "127.0.0.1:4001", "1.2.3.4:443"))) //nolint:errcheck // seen below
	}()
	<-asking
	if p := w.ask(t, "127.0.0.1:4001", "1.2.3.4:443"); p == nil || p.PID != 5 {
		t.Errorf("%+v", p)
	}
	pen.Close()
	if p := w.ask(t, "127.0.0.1:4002", "1.2.3.4:443"); p != nil {
		t.Errorf("%+v of a pen that has ended", p)
	}
}

// TestFollowFlood: a pen that tells without end is told of by numbers, and takes no
// room.
func TestFollowFlood(t *testing.T) {
	w, pen, h := follow(t)
	const n = 60000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		id := ID{i%30000 + 1, uint64(i)}
		b := framed(execOf(id, 1, ID{}, "/bin/x", "x", strings.Repeat("a", 500)), accessOf(id, 1, fmt.Sprintf("/home/a/.ssh/%d%s", i, strings.Repeat("b", 900)), false, 0), endOf(id, 0, 0))
		if _, err := pen.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	pen.Close()
	w.Close()
	runtime.GC()
	runtime.ReadMemStats(&after)
	executed, opened := uint64(0), uint64(0)
	for _, x := range h.executed {
		executed += max(x.More, 1)
	}
	for _, x := range h.opened {
		opened += max(x.More, 1)
	}
	if executed != n || opened != n || len(h.executed) > mostExecuted+10 || len(h.opened) > mostOpened+10 {
		t.Errorf("%d executions in %d, %d files in %d, %d lost", executed, len(h.executed), opened, len(h.opened), h.lost)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// TestFollowNonsense: after a record that can't be one nothing is read any more.
func TestFollowNonsense(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": {0, 0}, "short": framed(make([]byte, 8)), "long": {0xff, 0xff}, "unknown": framed(head(99, ID{1, 1}, 1).b),
	} {
		t.Run(name, func(t *testing.T) {
			w, pen, h := follow(t)
			if _, err := pen.Write(append(b, framed(execOf(ID{1, 1}, 1, ID{}, "/bin/sh", "sh"))...)); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if h.lost != 1 || len(h.executed) != 0 && name != "unknown" {
				t.Errorf("%d lost, %+v", h.lost, h.executed)
			}
		})
	}
}

// FuzzFollow: whatever the pen writes, it is split into what was written.
func FuzzFollow(f *testing.F) {
	f.Add(framed(accessOf(ID{5, 50}, 1, "/a", true, 13), exitOf(ID{5, 50}, 1)), 3)
	f.Add([]byte{0, 0, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		s := &stream{}
		w := newTest()
		w.opts.Opened, w.opts.Executed, w.opts.Ended = func(Opened) {}, func(Executed) {}, func(Ended) {}
		total := 0
		for len(b) > 0 {
			n := min(max(piece, 1), len(b), len(s.buf)-s.n)
			copy(s.buf[s.n:], b[:n])
			s.n, b = s.n+n, b[n:]
			if !s.split(func(r []byte) { total += len(r); w.take(r) }) {
				return
			}
			if s.n > mostRecord {
				t.Fatalf("%d bytes are kept", s.n)
			}
		}
		w.Who(t.Context(), netip.AddrPort{}, netip.AddrPort{})
	})
}
