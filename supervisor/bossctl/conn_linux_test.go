package bossctl

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/penstock/penstock/supervisor/packet"
)

func pair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	a, f, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	ours := NewConn(a)
	theirs, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func TestDescriptorsAreCounted(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	assign := &Message{Op: OpAssign, Assign: &Assign{Session: "s", User: "u", Started: time.Now()}}
	for _, c := range []struct {
		m  *Message
		n  int
		ok bool
	}{
		{assign, 3, true}, {assign, 2, false}, {assign, 4, false},
		{&Message{Op: OpReady}, 0, true}, {&Message{Op: OpReady}, 1, false},
	} {
		a, b := pair(t)
		files := make([]*os.File, c.n)
		for i := range files {
			files[i] = null
		}
		if err := a.Send(c.m, files...); err != nil {
			t.Fatal(err)
		}
		m, got, err := b.Recv()
		packet.CloseAll(got)
		if (err == nil) != c.ok || c.ok && (m.Op != c.m.Op || len(got) != c.n) {
			t.Errorf("%s with %d: %v, %d descriptors, %v", c.m.Op, c.n, m, len(got), err)
		}
	}
	a, b := pair(t)
	if err := a.Send(&Message{Op: OpReady}, null, null, null, null, null); err == nil {
		t.Error("sent too many")
	}
	a.Close()
	if _, _, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}
