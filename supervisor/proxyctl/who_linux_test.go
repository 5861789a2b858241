package proxyctl

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

// asking is a supervisor that answers and a proxy that asks.
func asking(t *testing.T, resolve Resolve) (*Client, *Conn, *Asker) {
	t.Helper()
	c, p, _ := pair(t)
	c.Answer(resolve)
	a := NewAsker(p)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			switch m.Op {
			case OpProcess:
				a.Answer(m)
			case OpRecord:
				p.Send(&Message{Op: OpRecorded})
			}
		}
	}()
	return c, p, a
}

func port(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 0, 8}), uint16(n))
}

// Every answer is that of its question, however many there are, and calls of the
// supervisor go on meanwhile.
func TestWho(t *testing.T) {
	root := &hooks.Process{PID: 1, Args: []string{"sh"}, Exe: hooks.Executable{Path: "/bin/sh", Dev: 1, Ino: 2, SHA256: "ab"}}
	var mu sync.Mutex
	all := map[uint16]*hooks.Process{}
	c, _, a := asking(t, func(_ context.Context, client, server netip.AddrPort) *hooks.Process {
		if server.Port() != 443 {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		p := all[client.Port()%100]
		if p == nil {
			p = &hooks.Process{PID: int(client.Port() % 100), TID: 3, UID: 1000, Start: 5, Args: []string{"a", "\x1b[31m"}, Cgroup: "/x", Parent: root, Shared: client.Port()%2 == 0}
			all[client.Port()%100] = p
		}
		return p
	})
	var asked sync.WaitGroup
	for n := range 5000 {
		asked.Go(func() {
			to := port(443)
			if n%10 == 0 {
				to = port(80)
			}
			p := a.Who(within(t), port(1000+n), to)
			switch {
			case n%10 == 0:
				if p != nil {
					t.Errorf("%d: %+v", n, p)
				}
			case p == nil || p.PID != (1000+n)%100 || p.UID != 1000 || p.TID != 3 || p.Start != 5 || p.Args[1] != "\x1b[31m" || p.Cgroup != "/x" || p.Shared != (n%2 == 0) ||
				p.Parent == nil || p.Parent.Exe != root.Exe || p.Parent.Parent != nil:
				t.Errorf("%d: %+v", n, p)
			}
		})
	}
	for range 50 {
		if err := c.Record(within(t), "x", 1); err != nil {
			t.Fatal(err)
		}
	}
	asked.Wait()
	// The same process is the same pointer.
	if p, q := a.Who(within(t), port(1001), port(443)), a.Who(within(t), port(1101), port(443)); p != q {
		t.Errorf("%p %p", p, q)
	}
}

// More processes than are remembered, and arguments that don't fit into a message.
func TestWhoMany(t *testing.T) {
	long := []string{strings.Repeat("\x01", 4<<10)}
	_, _, a := asking(t, func(_ context.Context, client, _ netip.AddrPort) *hooks.Process {
		var p *hooks.Process
		for i := range 30 {
			p = &hooks.Process{PID: int(client.Port())*100 + i, Args: long, Parent: p}
		}
		return p
	})
	for n := range 3 * maxTold / 30 {
		p := a.Who(within(t), port(n+1), port(443))
		depth := 0
		for up := p; up != nil; up = up.Parent {
			depth++
		}
		if p == nil || p.PID != (n+1)*100+29 || depth != 30 {
			t.Fatalf("%d: %+v, %d", n, p, depth)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.heard.refs); n > maxTold+30 {
		t.Errorf("%d processes are remembered", n)
	}
}

// Without an answer nobody waits longer than he wants to.
func TestWhoSilence(t *testing.T) {
	_, p, _ := pair(t)
	a := NewAsker(p)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 2 * MaxAsked {
		all.Go(func() {
			if w := a.Who(ctx, port(1), port(2)); w != nil {
				t.Error(w)
			}
		})
	}
	all.Wait()
	if len(a.waiting) != 0 {
		t.Errorf("%d wait still", len(a.waiting))
	}
}

// A proxy that was taken over asks without end, and takes no answers: it gets no
// more work done than it may, and the session goes on.
func TestWhoFlood(t *testing.T) {
	var running, most atomic.Int64
	c, p, _ := pair(t)
	release := make(chan struct{})
	c.Answer(func(ctx context.Context, _, _ netip.AddrPort) *hooks.Process {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	go func() {
		for i := range 10 * MaxAsked {
			if p.Send(&Message{Op: OpWho, Who: &Who{ID: uint64(i)}}) != nil {
				return
			}
		}
		p.Send(&Message{Op: OpNotice, Text: "end"})
	}()
	unknown := 0
	for unknown < 9*MaxAsked-answerers-1 { // what is beyond the bound is answered at once
		m, err := p.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.Op != OpProcess || m.Found == nil || m.Found.Ref != 0 {
			t.Fatalf("%+v", m)
		}
		unknown++
	}
	if n := most.Load(); n > answerers {
		t.Errorf("%d questions at a time", n)
	}
	close(release)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			if m.Op == OpRecord {
				p.Send(&Message{Op: OpRecorded})
			}
		}
	}()
	if err := c.Record(within(t), "x", 1); err != nil {
		t.Error(err)
	}
	c.Close()
	if n := running.Load(); n != 0 {
		t.Errorf("%d questions outlive the conversation", n)
	}
}

// Questions that are none end the conversation.
func TestWhoHostile(t *testing.T) {
	for name, raw := range map[string]string{
		"no question":  `{"op":"who"}`,
		"own answer":   `{"op":"process","found":{"id":1}}`,
		"bad address":  `{"op":"who","who":{"id":1,"client":"x","server":"y"}}`,
		"huge number":  `{"op":"who","who":{"id":99999999999999999999}}`,
		"wrong nature": `{"op":"who","who":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, p, _ := pair(t)
			c.Answer(func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { t.Error("asked"); return nil })
			if _, err := p.uc.Write([]byte(raw)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-c.Done():
			case <-within(t).Done():
				t.Error("the conversation goes on")
			}
		})
	}
	// Before anybody answers, and after.
	c, p, _ := pair(t)
	for i := range 3 {
		p.Send(&Message{Op: OpWho, Who: &Who{ID: uint64(i)}})
		if m, err := p.Recv(); err != nil || m.Found.ID != uint64(i) || m.Found.Ref != 0 {
			t.Errorf("%+v, %v", m, err)
		}
	}
	c.Close()
	c.Answer(func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return nil })
	if c.who != nil {
		t.Error("answers after the end")
	}
}

func BenchmarkWho(b *testing.B) {
	ours, theirs, err := Pair()
	if err != nil {
		b.Fatal(err)
	}
	uc, err := Open(theirs)
	if err != nil {
		b.Fatal(err)
	}
	c, p := NewClient(NewConn(ours), func(string) {}), NewConn(uc)
	defer c.Close()
	defer p.Close()
	one := &hooks.Process{PID: 1, Exe: hooks.Executable{Path: "/bin/sh"}}
	c.Answer(func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return one })
	a := NewAsker(p)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			a.Answer(m)
		}
	}()
	for b.Loop() {
		if a.Who(b.Context(), port(1), port(2)) == nil {
			b.Fatal(fmt.Errorf("nobody"))
		}
	}
}
