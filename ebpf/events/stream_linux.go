package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Bounds of a stream.
const (
	mostRecord = 4096      // one record, with its length
	mostAtOnce = 256 << 10 // what is read before somebody else may
)

// stream is a pipe that a process of the pen writes records to, each behind its length
// in 16 bits.
type stream struct {
	fd     int
	buf    [2 * mostRecord]byte
	n      int // of buf, a record's beginning
	failed bool
}

// Follow begins to follow records that a process of the pen writes to the pipe whose
// reading end f is, and takes f over. It is believed nothing but that it may know what
// it tells: see Options.SaidBy.
func Follow(f *os.File, o Options) (*Watcher, error) {
	file, err := pollable(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("watch stream of events: %w", err)
	}
	raw, err := file.SyscallConn()
	s := &stream{fd: -1}
	if err == nil {
		// It is read only while the Watcher is locked and not closed.
		err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch stream of events: %w", err), file.Close())
	}
	return begin(file, s, o)
}

// drain calls f for each record that is there. Nothing can be said about what is on
// its way, so it is never empty, but at the end.
func (s *stream) drain(f func([]byte)) state {
	if s.failed {
		return broken
	}
	for total := 0; total < mostAtOnce; {
		n, err := unix.Read(s.fd, s.buf[s.n:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return busy
		case err != nil || n == 0:
			return empty
		}
		total += n
		s.n += n
		if !s.split(f) {
			s.failed = true
			f(nil) // counted as one that makes no sense
			return broken
		}
	}
	return more
}

// split takes the whole records out of the buffer.
func (s *stream) split(f func([]byte)) bool {
	b := s.buf[:s.n]
	for len(b) >= 2 {
		n := 2 + int(binary.NativeEndian.Uint16(b))
		if n > mostRecord || n < 2+headSize {
			return false
		}
		if len(b) < n {
			break
		}
		f(b[2:n])
		b = b[n:]
	}
	s.n = copy(s.buf[:], b)
	return true
}

func (s *stream) unmap() error { return nil }
