//go:build unix

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// headSize is that of a frame's head: how long the message is (four bytes, big endian)
// and how many descriptors come with it. They are attached to the head.
const headSize = 5

// Stream is one end of a conversation over a stream socket, for systems whose unix
// sockets have no packets (macOS), and for messages that are too long for one: each message goes as a frame. Send may be called
// concurrently, Recv by one goroutine. After an error of either, but for a message that
// can't be sent as it is, the conversation is over: nobody knows where the next frame
// begins.
type Stream struct {
	uc    *net.UnixConn
	size  int // of a message, in bytes
	files int // descriptors of a message

	mu    sync.Mutex
	wrong error // of the writer's side
	bad   error // of the reader's
}

// NewStream speaks over uc, which it takes over. No message has more than size bytes or
// files descriptors, of which there are at most 250, in either direction.
func NewStream(uc *net.UnixConn, size, files int) *Stream {
	return &Stream{uc: uc, size: size, files: min(files, 250)}
}

// SetDeadline bounds the calls that follow, see net.Conn. A peer can leave a frame
// unfinished for as long as there is none.
func (s *Stream) SetDeadline(t time.Time) error { return s.uc.SetDeadline(t) }

// Close ends the conversation.
func (s *Stream) Close() error { return s.uc.Close() }

// Send writes one message and copies of files, which stay the caller's.
func (s *Stream) Send(b []byte, files ...*os.File) error {
	if len(b) == 0 || len(b) > s.size {
		return fmt.Errorf("send message: %d bytes, not from 1 to %d", len(b), s.size)
	}
	if len(files) > s.files {
		return fmt.Errorf("send message: %d descriptors, more than %d", len(files), s.files)
	}
	oob, err := grant(files)
	if err != nil {
		return err
	}
	frame := append(binary.BigEndian.AppendUint32(make([]byte, 0, headSize+len(b)), uint32(len(b))), byte(len(files)))
	frame = append(frame, b...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong != nil {
		return s.wrong
	}
	// The descriptors go with the first byte; the rest may need further calls.
	n, _, err := s.uc.WriteMsgUnix(frame, oob, nil)
	runtime.KeepAlive(files)
	if err == nil && n < len(frame) {
		_, err = s.uc.Write(frame[n:])
	}
	if err != nil {
		s.wrong = fmt.Errorf("send message: %w", err)
	}
	return s.wrong
}

// Recv reads one message and its descriptors, which are close-on-exec and the caller's.
// io.EOF means that the other end is gone. After any other error nothing of the message
// is left open.
func (s *Stream) Recv() ([]byte, []*os.File, error) {
	if s.bad != nil {
		return nil, nil, s.bad
	}
	b, files, err := s.recv()
	if err != nil {
		CloseAll(files)
		b, files, s.bad = nil, nil, err
	}
	return b, files, err
}

func (s *Stream) recv() (b []byte, files []*os.File, err error) {
	var head [headSize]byte
	if files, err = s.fill(head[:], nil); err != nil {
		return nil, files, err
	}
	n, many := binary.BigEndian.Uint32(head[:]), int(head[4])
	switch {
	case n == 0 || uint64(n) > uint64(s.size):
		err = fmt.Errorf("receive message: %d bytes, not from 1 to %d", n, s.size)
	case many > s.files || many != len(files):
		err = fmt.Errorf("receive message: %d descriptors with a head that says %d, of at most %d", len(files), many, s.files)
	}
	if err != nil {
		return nil, files, err
	}
	b = make([]byte, n)
	if files, err = s.fill(b, files); errors.Is(err, io.EOF) {
		err = fmt.Errorf("receive message: %w", io.ErrUnexpectedEOF)
	}
	if err == nil && len(files) != many {
		err = errors.New("receive message: descriptors in the middle of it")
	}
	return b, files, err
}

// fill reads all of b and adds what descriptors come to files. io.EOF is the end before
// the first byte.
func (s *Stream) fill(b []byte, files []*os.File) ([]*os.File, error) {
	oob := make([]byte, unix.CmsgSpace((s.files+1)*4))
	for at := 0; at < len(b); {
		n, oobn, flags, _, err := s.uc.ReadMsgUnix(b[at:], oob)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || err == nil && n == 0 && oobn == 0 {
			err = io.EOF
		}
		if err == nil {
			var more []*os.File
			more, err = rights(oob[:oobn])
			files = append(files, more...)
		}
		switch {
		case errors.Is(err, io.EOF) && at == 0:
			return files, io.EOF
		case errors.Is(err, io.EOF):
			return files, fmt.Errorf("receive message: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return files, fmt.Errorf("receive message: %w", err)
		case flags&unix.MSG_CTRUNC != 0 || len(files) > s.files:
			return files, fmt.Errorf("receive message: more than %d descriptors", s.files)
		}
		at += n
	}
	return files, nil
}
