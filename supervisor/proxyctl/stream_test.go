//go:build unix

package proxyctl

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
)

// streamPair is the conversation as on systems without packets.
func streamPair(t *testing.T) (c *Client, p *Conn, notices chan string) {
	t.Helper()
	ours, theirs, err := donate.StreamPair()
	if err != nil {
		t.Fatal(err)
	}
	uc, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	notices = make(chan string, 8)
	c = NewClient(&Conn{uc: ours, line: newStreamed(ours)}, func(s string) { notices <- s })
	p = &Conn{uc: uc, line: newStreamed(uc)}
	t.Cleanup(func() { c.Close(); p.Close() })
	return c, p, notices
}

// TestStreamed: the conversation is the same over a stream, up to the largest message.
func TestStreamed(t *testing.T) {
	c, p, notices := streamPair(t)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			switch m.Op {
			case OpListen:
				p.Send(&Message{Op: OpNotice, Text: "hello"})
				p.Send(&Message{Op: OpListening})
			case OpRecord:
				p.Send(&Message{Op: OpRecorded, Error: string(m.Event)})
			case OpEnd:
				p.Send(&Message{Op: OpEnded, Summary: &Summary{AllowedTotal: 7}})
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-notices; got != "hello" {
		t.Errorf("notice %q", got)
	}
	long := strings.Repeat("a", MaxMessage/4)
	if err := c.Record(ctx, "violation", long); err == nil || !strings.Contains(err.Error(), long) {
		t.Errorf("a long message came back as %.100v", err)
	}
	sum, err := c.End(ctx, struct{}{})
	if err != nil || sum.AllowedTotal != 7 {
		t.Errorf("%+v, %v", sum, err)
	}
	p.Close()
	<-c.Done()
	if !errors.Is(c.err, io.EOF) {
		t.Errorf("ended with %v", c.err)
	}
}

// TestStreamedHostile: whatever a proxy writes instead ends the conversation, and no
// descriptor of its stays.
func TestStreamedHostile(t *testing.T) {
	frame := func(text string) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), 0), text...)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, tc := range map[string]struct {
		raw    []byte
		rights bool
	}{
		"garbage":    {raw: frame("{")},
		"unknown op": {raw: frame(`{"op":"root"}`)},
		"empty":      {raw: frame("")},
		"too long":   {raw: binary.BigEndian.AppendUint32(nil, MaxMessage+1)},
		"cut off":    {raw: frame(`{"op":"notice"}`)[:8]},
		"rights":     {raw: frame(`{"op":"notice"}`), rights: true},
		"its own op": {raw: frame(`{"op":"listen"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			c, p, notices := streamPair(t)
			var oob []byte
			if tc.rights {
				oob = unix.UnixRights(int(null.Fd()))
			}
			if _, _, err := p.uc.WriteMsgUnix(tc.raw, oob, nil); err != nil {
				t.Fatal(err)
			}
			p.uc.CloseWrite()
			<-c.Done()
			if c.err == nil || errors.Is(c.err, io.EOF) {
				t.Errorf("ended with %v", c.err)
			}
			if len(notices) > 0 {
				t.Error("it was heard")
			}
		})
	}
}
