package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Sender reads a stream and sends it, as far as the other side has room.
type Sender struct {
	conn   *Conn
	stream uint8
	mu     sync.Mutex
	more   *sync.Cond
	room   int
	closed bool // nobody reads
}

// NewSender returns the sending side of a stream.
func NewSender(c *Conn, stream uint8) *Sender {
	s := &Sender{conn: c, stream: stream, room: Window}
	s.more = sync.NewCond(&s.mu)
	return s
}

// Run sends what r has to its end, and says that it is the end. It returns early when
// nobody reads any more.
func (s *Sender) Run(r io.Reader) error {
	buf := make([]byte, MaxData)
	for {
		n := s.wait()
		if n == 0 {
			return nil
		}
		n, err := r.Read(buf[:n])
		if n > 0 {
			s.mu.Lock()
			s.room -= n
			s.mu.Unlock()
			if err := s.conn.Send(Frame{Kind: Data, Stream: s.stream, Body: buf[:n]}); err != nil {
				return err
			}
		}
		if err != nil {
			return s.conn.Send(Frame{Kind: Close, Stream: s.stream})
		}
	}
}

// wait returns how much may be read; 0 when nobody wants it.
func (s *Sender) wait() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.room == 0 && !s.closed {
		s.more.Wait()
	}
	if s.closed {
		return 0
	}
	return min(s.room, MaxData)
}

// Credit takes what the other side says about room.
func (s *Sender) Credit(n uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(s.room)+int64(n) > Window {
		return fmt.Errorf("%w: %d bytes of room too many", ErrFrame, n)
	}
	s.room += int(n)
	s.more.Broadcast()
	return nil
}

// Stop says that nobody reads.
func (s *Sender) Stop() {
	s.mu.Lock()
	s.closed = true
	s.more.Broadcast()
	s.mu.Unlock()
}

// Receiver writes a stream that comes in.
type Receiver struct {
	conn   *Conn
	stream uint8
	mu     sync.Mutex
	more   *sync.Cond
	queue  [][]byte
	held   int
	ended  bool
}

// NewReceiver returns the receiving side of a stream.
func NewReceiver(c *Conn, stream uint8) *Receiver {
	r := &Receiver{conn: c, stream: stream}
	r.more = sync.NewCond(&r.mu)
	return r
}

// Data takes what came. It does not wait.
func (r *Receiver) Data(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held+len(b) > Window {
		return fmt.Errorf("%w: more than the window of stream %d", ErrFrame, r.stream)
	}
	if r.ended {
		return fmt.Errorf("%w: data after the end of stream %d", ErrFrame, r.stream)
	}
	r.held += len(b)
	r.queue = append(r.queue, b)
	r.more.Signal()
	return nil
}

// End says that no more will come.
func (r *Receiver) End() {
	r.mu.Lock()
	r.ended = true
	r.more.Broadcast()
	r.mu.Unlock()
}

// Run writes to w what comes, until the end of it, or until w takes no more, which the
// other side is told. It closes w.
func (r *Receiver) Run(w io.WriteCloser) {
	defer w.Close()
	broken := false
	for {
		b, ok := r.next()
		if !ok {
			return
		}
		if !broken {
			if _, err := w.Write(b); err != nil {
				broken = true
				w.Close()
				r.conn.Send(Frame{Kind: Close, Stream: r.stream}) //nolint:errcheck // then it is over anyway
			}
		}
		r.mu.Lock()
		r.held -= len(b)
		r.mu.Unlock()
		r.conn.Send(Frame{Kind: Credit, Stream: r.stream, Body: binary.BigEndian.AppendUint32(nil, uint32(len(b)))}) //nolint:errcheck // then it is over anyway
	}
}

func (r *Receiver) next() ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.ended {
		r.more.Wait()
	}
	if len(r.queue) == 0 {
		return nil, false
	}
	b := r.queue[0]
	r.queue = r.queue[1:]
	return b, true
}
