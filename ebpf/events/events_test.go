package events

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/penstock/penstock/hooks"
)

// record builds what a program would write.
type record struct{ b []byte }

func head(k Kind, id ID, exec uint64) *record {
	ne := binary.NativeEndian
	r := &record{}
	r.b = ne.AppendUint32(r.b, uint32(k))
	r.b = ne.AppendUint32(r.b, 1000)
	r.b = ne.AppendUint64(r.b, 1) // time
	r.b = ne.AppendUint64(r.b, 0) // lost
	r.b = ne.AppendUint64(r.b, 7) // group
	r.b = ne.AppendUint32(r.b, uint32(id.PID))
	r.b = ne.AppendUint32(r.b, uint32(id.PID))
	r.b = ne.AppendUint64(r.b, id.Start)
	r.b = ne.AppendUint64(r.b, exec)
	return r
}

func (r *record) lost(n uint64) *record {
	binary.NativeEndian.PutUint64(r.b[16:], n)
	return r
}

func (r *record) u64(v uint64) *record { r.b = binary.NativeEndian.AppendUint64(r.b, v); return r }
func (r *record) u32(v uint32) *record { r.b = binary.NativeEndian.AppendUint32(r.b, v); return r }
func (r *record) u16(v uint16) *record { r.b = binary.NativeEndian.AppendUint16(r.b, v); return r }

func flowOf(id ID, exec uint64, source, target string) []byte {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(target)
	r := head(Flow, id, exec)
	s16, d16 := s.Addr().As16(), d.Addr().As16()
	r.b = append(append(r.b, s16[:]...), d16[:]...)
	return r.u16(s.Port()).u16(d.Port()).u32(0).b
}

func forkOf(parent ID, exec uint64, child ID) []byte {
	return head(Fork, parent, exec).u64(child.Start).u64(exec).u32(uint32(child.PID)).u32(0).b
}

func execOf(id ID, exec uint64, parent ID, path, name string, args ...string) []byte {
	var parts string
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	slices.Reverse(names)
	for _, n := range names {
		parts += n + "\x00"
	}
	var words string
	for _, a := range args {
		words += a + "\x00"
	}
	r := head(Exec, id, exec).u64(parent.Start).u64(99).u32(uint32(parent.PID)).u32(8<<20 | 300).u32(0).
		u16(uint16(len(parts))).u16(uint16(len(name) + 1)).u16(uint16(len(words))).u16(0).u16(0).u16(0)
	r.b = append(r.b, parts+name+"\x00"+words...)
	return r.b
}

func exitOf(id ID, exec uint64) []byte { return head(Exit, id, exec).u32(0).u32(0).b }

// newTest is a Watcher without a ring.
func newTest() *Watcher {
	m := &mapping{}
	m.consumer, m.producer, m.size, m.data = new(uint64), new(uint64), 4096, make([]byte, 8192)
	return &Watcher{ring: m, flows: newFlows(), kick: make(chan struct{}, 1),
		tree: newTree(func(uint64) string { return "g" })}
}

func (w *Watcher) ask(t *testing.T, client, local string) *hooks.Process {
	t.Helper()
	return w.Who(context.Background(), netip.MustParseAddrPort(client), netip.MustParseAddrPort(local))
}

func TestParse(t *testing.T) {
	e, err := Parse(execOf(ID{5, 50}, 2, ID{4, 40}, "/usr/bin/git", "git", "git", "fetch", ""))
	if err != nil || e.Path != "/usr/bin/git" || e.Name != "git" || !slices.Equal(e.Args, []string{"git", "fetch", ""}) ||
		e.ID != (ID{5, 50}) || e.Other != (ID{4, 40}) || e.Ino != 99 || e.Dev != 8<<8|300&0xff|(300&^0xff)<<12 || e.UID != 1000 || e.Cgroup != 7 {
		t.Errorf("%+v %v", e, err)
	}
	e, err = Parse(flowOf(ID{5, 50}, 2, "192.0.0.8:40000", "[2001:db8::1]:443"))
	if err != nil || e.Source.String() != "192.0.0.8:40000" || e.Target.String() != "[2001:db8::1]:443" {
		t.Errorf("%+v %v", e, err)
	}
	for _, whole := range [][]byte{flowOf(ID{1, 1}, 1, "1.1.1.1:1", "1.1.1.1:1"), forkOf(ID{1, 1}, 1, ID{2, 2}), exitOf(ID{1, 1}, 1), execOf(ID{1, 1}, 1, ID{}, "/a", "a", "a")} {
		for n := range whole {
			if _, err := Parse(whole[:n]); err == nil {
				t.Errorf("%d of %d bytes were taken", n, len(whole))
			}
		}
	}
}

// TestTree follows processes through fork, exec, exit and the reuse of a pid.
func TestTree(t *testing.T) {
	w := newTest()
	sh, git, other := ID{10, 100}, ID{11, 110}, ID{11, 999}
	for _, b := range [][]byte{
		execOf(sh, 1, ID{1, 1}, "/bin/sh", "sh", "sh", "-c", "git fetch"),
		forkOf(sh, 1, git),
		flowOf(git, 1, "192.0.0.8:1000", "1.2.3.4:443"), // before it executes: still the shell
		execOf(git, 2, sh, "/usr/bin/git", "git", "git", "fetch"),
		flowOf(git, 2, "192.0.0.8:1001", "1.2.3.4:443"),
		execOf(sh, 2, ID{1, 1}, "/bin/evil", "evil", "evil"), // what git's parent was stays
		exitOf(git, 2),
		forkOf(sh, 2, other), // the same number again
		flowOf(other, 2, "192.0.0.8:1002", "1.2.3.4:443"),
		flowOf(git, 2, "192.0.0.8:1003", "1.2.3.4:443"),   // of a process that is gone
		flowOf(other, 3, "192.0.0.8:1004", "1.2.3.4:443"), // its exec was lost
	} {
		w.take(b)
	}
	for _, c := range []struct{ client, exe, parent string }{
		{"192.0.0.8:1000", "/bin/sh", "/bin/sh"},
		{"192.0.0.8:1001", "/usr/bin/git", "/bin/sh"},
		{"192.0.0.8:1002", "/bin/evil", "/bin/evil"},
		{"192.0.0.8:1003", "", ""},
		{"192.0.0.8:1004", "", "/bin/evil"},
	} {
		who := w.ask(t, c.client, "1.2.3.4:443")
		if who == nil {
			t.Errorf("%s: nobody", c.client)
			continue
		}
		parent := ""
		if who.Parent != nil {
			parent = who.Parent.Exe.Path
		}
		if who.Exe.Path != c.exe || parent != c.parent {
			t.Errorf("%s: %q of %q, want %q of %q", c.client, who.Exe.Path, parent, c.exe, c.parent)
		}
	}
	if who := w.ask(t, "192.0.0.8:1000", "1.2.3.4:443"); who != nil {
		t.Error("a connection was answered twice")
	}
}

// TestAmbiguous: when two processes may have made a connection, none did.
func TestAmbiguous(t *testing.T) {
	w := newTest()
	a, b := ID{10, 100}, ID{11, 110}
	w.take(execOf(a, 1, ID{}, "/a", "a"))
	w.take(execOf(b, 1, ID{}, "/b", "b"))
	w.take(flowOf(a, 1, "192.0.0.8:1", "1.2.3.4:443"))
	w.take(flowOf(b, 1, "192.0.0.8:1", "1.2.3.4:443"))
	if who := w.ask(t, "192.0.0.8:1", "1.2.3.4:443"); who != nil {
		t.Errorf("it was %s", who.Exe.Path)
	}
	w.take(flowOf(a, 1, "192.0.0.8:1", "1.2.3.4:443"))
	w.take(flowOf(a, 1, "192.0.0.8:1", "1.2.3.4:443"))
	if who := w.ask(t, "192.0.0.8:1", "1.2.3.4:443"); who == nil || who.PID != 10 {
		t.Errorf("it was %+v", who)
	}
}

func TestBounds(t *testing.T) {
	w := newTest()
	root := ID{1, 1}
	w.take(execOf(root, 1, ID{}, "/first", "first"))
	last := root
	for i := range 10_000 { // each child's parent ends
		child := ID{2 + i, uint64(2 + i)}
		w.take(forkOf(last, 1, child))
		w.take(exitOf(last, 1))
		last = child
	}
	if len(w.tree.nodes) != 1 {
		t.Errorf("%d processes live", len(w.tree.nodes))
	}
	w.take(flowOf(last, 1, "192.0.0.8:1", "1.2.3.4:443"))
	who := w.ask(t, "192.0.0.8:1", "1.2.3.4:443")
	depth, end := 0, (*hooks.Process)(nil)
	for p := who; p != nil; p = p.Parent {
		depth, end = depth+1, p
	}
	if depth > mostAncestors+2 || end.PID != 1 {
		t.Errorf("%d ancestors up to %d", depth, end.PID)
	}
	for i := range 3 * mostFlows {
		w.take(flowOf(last, 1, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 16), byte(i >> 8)}), uint16(i&0xff)).String(), "1.2.3.4:443"))
	}
	if len(w.flows.byEnds) > mostFlows || len(w.flows.order) > mostFlows {
		t.Errorf("%d connections are remembered, %d places", len(w.flows.byEnds), len(w.flows.order))
	}
	for i := range mostProcesses + 10 { // exits are lost
		w.take(forkOf(last, 1, ID{1<<20 + i, 5}))
	}
	if len(w.tree.nodes) > mostProcesses {
		t.Errorf("%d processes are remembered", len(w.tree.nodes))
	}
}

func TestLost(t *testing.T) {
	w := newTest()
	w.take(head(Exit, ID{1, 1}, 1).lost(3).u64(0).b)
	w.take(head(Exit, ID{1, 1}, 1).lost(3).u64(0).b)
	w.take([]byte("garbage"))
	if n := w.Lost(); n != 4 {
		t.Errorf("%d lost", n)
	}
}

// TestBusy: a record that is being written is waited for, one that never is
// written is not.
func TestBusy(t *testing.T) {
	w := newTest()
	exit, flow := exitOf(ID{1, 1}, 1), flowOf(ID{5, 50}, 1, "192.0.0.8:1", "1.2.3.4:443")
	put := func(at int, b []byte, flags uint32) int {
		binary.NativeEndian.PutUint32(w.ring.(*mapping).data[at:], uint32(len(b))|flags)
		copy(w.ring.(*mapping).data[at+8:], b)
		return at + (8+len(b)+7)&^7
	}
	second := put(0, exit, recordBusy)
	*w.ring.(*mapping).producer = uint64(put(second, flow, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ends := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	if p := w.Who(ctx, ends("192.0.0.8:1"), ends("1.2.3.4:443")); p != nil {
		t.Error("read what is not written yet")
	}
	if p := w.ask(t, "192.0.0.8:1", "1.2.3.4:443"); p != nil {
		t.Error("read what is not written yet")
	}
	asked := make(chan *hooks.Process)
	go func() { asked <- w.Who(t.Context(), ends("192.0.0.8:1"), ends("1.2.3.4:443")) }()
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&w.ring.(*mapping).data[0])), uint32(len(exit)))
	if p := <-asked; p == nil || p.PID != 5 {
		t.Errorf("%+v", p)
	}
}

func accessOf(id ID, exec uint64, path string, write bool, errno uint32) []byte {
	flags := uint16(0)
	if write {
		flags = 1
	}
	r := head(Access, id, exec).u32(errno).u16(flags).u16(uint16(len(path)))
	return append(r.b, path...)
}

// FuzzParse: whatever is in a record, it is read or refused, and the tree holds.
func FuzzParse(f *testing.F) {
	for _, b := range [][]byte{
		flowOf(ID{5, 50}, 2, "192.0.0.8:40000", "[2001:db8::1]:443"), forkOf(ID{5, 50}, 1, ID{6, 60}), exitOf(ID{5, 50}, 1),
		execOf(ID{5, 50}, 2, ID{4, 40}, "/usr/bin/git", "git", "git", "fetch", ""),
		head(Deny, ID{5, 50}, 1).u64(0).u64(0).u16(443).u16(1).u16(2).u16(3).u32(6).u32(0).b,
		accessOf(ID{5, 50}, 1, "/a", false, 0),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err == nil && len(e.Path)+len(e.Name)+len(strings.Join(e.Args, "")) > len(b)+8 {
			t.Errorf("%d bytes became %+v", len(b), e)
		}
		w := newTest()
		w.opts.Notify = func(Event, *hooks.Process) {}
		w.opts.Ended = func(Ended) {}
		w.opts.Executed = func(Executed) {}
		w.opts.Opened = func(Opened) {}
		w.take(b)
		w.take(b)
		if err == nil && e.Kind == Flow {
			w.Who(context.Background(), e.Source, e.Target)
		}
	})
}

// FuzzRing: whatever is in the ring's memory, nothing outside of it is read.
func FuzzRing(f *testing.F) {
	f.Add(uint64(0), uint64(64), []byte{56, 0, 0, 0})
	f.Add(uint64(4088), uint64(8184), []byte{0xff, 0xff, 0, 0})
	f.Add(uint64(3), uint64(9), []byte{1, 0, 0, 0x40})
	f.Fuzz(func(t *testing.T, consumer, producer uint64, b []byte) {
		const size = 4096
		r := ring{consumer: &consumer, producer: &producer, size: size, data: make([]byte, 2*size)}
		copy(r.data, b)
		copy(r.data[size:], r.data[:size])
		total := 0
		st := r.drain(func(rec []byte) { total += len(rec) })
		if total > size {
			t.Errorf("%d bytes of a ring of %d", total, size)
		}
		if again := r.drain(func([]byte) {}); st == broken && again != broken {
			t.Error("a broken ring was mended")
		}
	})
}
