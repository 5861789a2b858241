package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// both is a conversation in memory.
type both struct {
	io.Reader
	io.Writer
}

// TestFrames: what one side sends is what the other gets.
func TestFrames(t *testing.T) {
	var b bytes.Buffer
	c := NewConn(both{&b, &b})
	sent := []Frame{
		{Kind: Hello}, {Kind: Start, Body: []byte("{}")}, {Kind: Data, Stream: 2, Body: bytes.Repeat([]byte{7}, MaxData)},
		{Kind: Close, Stream: 1}, {Kind: Credit, Stream: 1, Body: []byte{0, 1, 0, 0}}, {Kind: Signal, Body: []byte{15}},
		SizeFrame(33, 101), {Kind: Exit, Body: []byte{9}}, FailedFrame(127, strings.Repeat("x", 2*maxText)), {Kind: Started},
	}
	for _, f := range sent {
		if err := c.Send(f); err != nil {
			t.Fatalf("%v: %v", f.Kind, err)
		}
	}
	for _, want := range sent {
		f, err := c.Receive()
		if err != nil || f.Kind != want.Kind || f.Stream != want.Stream || !bytes.Equal(f.Body, want.Body) {
			t.Errorf("got %v %v, want %v", f, err, want.Kind)
		}
	}
	if _, err := c.Receive(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if rows, columns := SizeFrame(33, 101).Window(); rows != 33 || columns != 101 {
		t.Errorf("%d %d", rows, columns)
	}
}

// TestMalformed: nothing is taken that is not a frame, whatever it says of its length.
func TestMalformed(t *testing.T) {
	for name, b := range map[string]string{
		"no kind":             "\x00\x00\x00\x00\x00\x00",
		"unknown kind":        "\x0b\x00\x00\x00\x00\x00",
		"a fourth stream":     "\x05\x03\x00\x00\x00\x01x",
		"a stream of none":    "\x01\x01\x00\x00\x00\x00",
		"a word with a body":  "\x01\x00\x00\x00\x00\x01x",
		"data without any":    "\x05\x01\x00\x00\x00\x00",
		"too much data":       "\x05\x01\x00\x00\x80\x01",
		"no exit code":        "\x0a\x00\x00\x00\x00\x00",
		"more than there may": "\x02\x00\xff\xff\xff\xff",
	} {
		if _, err := NewConn(both{strings.NewReader(b), io.Discard}).Receive(); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewConn(both{strings.NewReader("\x05\x01\x00\x00\x00\x09abc"), io.Discard}).Receive(); err != io.ErrUnexpectedEOF {
		t.Errorf("half a frame: %v", err)
	}
	if err := NewConn(both{nil, io.Discard}).Send(Frame{Kind: Data}); !errors.Is(err, ErrFrame) {
		t.Errorf("sent: %v", err)
	}
}

// closer remembers that it was closed, and takes so many bytes.
type closer struct {
	bytes.Buffer
	room   int
	closed bool
}

func (c *closer) Write(b []byte) (int, error) {
	if c.room -= len(b); c.room < 0 {
		return 0, io.ErrClosedPipe
	}
	return c.Buffer.Write(b)
}

func (c *closer) Close() error { c.closed = true; return nil }

// TestStream: a stream arrives whole, many windows of it, and its end does; a reader that
// takes no more is told to who writes.
func TestStream(t *testing.T) {
	for _, room := range []int{1 << 30, 100000} {
		near, far := net.Pipe()
		a, b := NewConn(near), NewConn(far)
		content := bytes.Repeat([]byte("0123456789abcdef"), 5*Window/16+1)
		s, r := NewSender(a, 1), NewReceiver(b, 1)
		to := &closer{room: room}
		written, sent := make(chan struct{}), make(chan error, 1)
		go func() { defer close(written); r.Run(to) }()
		go func() { // what the sender's side hears
			for {
				f, err := a.Receive()
				switch {
				case err != nil:
					return
				case f.Kind == Credit:
					if err := s.Credit(f.Number()); err != nil {
						t.Error(err)
					}
				case f.Kind == Close:
					s.Stop()
				}
			}
		}()
		go func() {
			err := s.Run(bytes.NewReader(content))
			near.Close()
			sent <- err
		}()
		for {
			f, err := b.Receive()
			if err != nil {
				break
			}
			if f.Kind == Close {
				r.End()
			} else if err := r.Data(f.Body); err != nil {
				t.Fatal(err)
			}
		}
		r.End()
		<-written
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if room > len(content) && !bytes.Equal(to.Bytes(), content) || !to.closed || to.Len() > room {
			t.Errorf("room %d: %d of %d bytes, closed %v", room, to.Len(), len(content), to.closed)
		}
		far.Close()
	}
}

// TestWindow: who sends more than there is room for, or gives room that was not taken, is
// told off.
func TestWindow(t *testing.T) {
	c := NewConn(both{strings.NewReader(""), io.Discard})
	r := NewReceiver(c, 1)
	for range Window / MaxData {
		if err := r.Data(make([]byte, MaxData)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Data([]byte{1}); !errors.Is(err, ErrFrame) {
		t.Errorf("more than the window: %v", err)
	}
	r = NewReceiver(c, 1)
	r.End()
	if err := r.Data([]byte{1}); !errors.Is(err, ErrFrame) {
		t.Errorf("after the end: %v", err)
	}
	if err := NewSender(c, 1).Credit(1); !errors.Is(err, ErrFrame) {
		t.Errorf("room that was not taken: %v", err)
	}
}

// FuzzReceive: whatever a hostile machine sends, it is a frame within its bounds that
// would be sent alike, or an error.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x05\x01\x00\x00\x00\x03abc\x0a\x00\x00\x00\x00\x01\x07"))
	f.Add([]byte("\x02\x00\x00\x40\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn(both{bytes.NewReader(b), io.Discard})
		var again bytes.Buffer
		for {
			frame, err := c.Receive()
			if err != nil {
				break
			}
			if err := NewConn(both{nil, &again}).Send(frame); err != nil {
				t.Fatalf("a frame that can't be sent: %v", err)
			}
		}
		if !bytes.HasPrefix(b, again.Bytes()) {
			t.Errorf("%q is not a beginning of %q", again.Bytes(), b)
		}
	})
}
