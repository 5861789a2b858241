package execctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/packet"
)

// streams is how many descriptors come with Start.
const streams = 3

// Conn is one end of a conversation. Send may be called concurrently, Recv by one
// goroutine.
type Conn struct{ s *packet.Stream }

// NewConn speaks over uc, a stream socket, which it takes over.
func NewConn(uc *net.UnixConn) *Conn {
	return &Conn{packet.NewStream(uc, MaxMessage, streams)}
}

// Pair makes the two ends of a conversation. The second is for another process.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "their socket")
	ours, err := packet.Open(os.NewFile(uintptr(fds[0]), "our socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return NewConn(ours), theirs, nil
}

// SetDeadline bounds the calls that follow, see net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.s.SetDeadline(t) }

// Close ends the conversation.
func (c *Conn) Close() error { return c.s.Close() }

// Send writes one message. files, which stay the caller's, go with Start.
func (c *Conn) Send(m *Message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	if len(b) > MaxMessage && m.Start != nil {
		return unix.E2BIG
	}
	return c.s.Send(b, files...)
}

// Recv reads a message that carries nothing. io.EOF means that the other end is gone.
func (c *Conn) Recv() (*Message, error) {
	b, files, err := c.s.Recv()
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		packet.CloseAll(files)
		return nil, errors.New("receive message: it carries descriptors")
	}
	return decode(b)
}

// RecvStart reads the first message, and the three streams, which are the caller's.
func (c *Conn) RecvStart() (*Start, [3]*os.File, error) {
	b, files, err := c.s.Recv()
	if err != nil {
		return nil, [3]*os.File{}, err
	}
	m, err := decode(b)
	if err == nil && (m.Start == nil || len(files) != streams) {
		err = errors.New("receive message: no command with three streams")
	}
	if err != nil {
		packet.CloseAll(files)
		return nil, [3]*os.File{}, err
	}
	return m.Start, [3]*os.File(files), nil
}

// Check refuses streams that a command in a pen may not have: what is not a file, a
// pipe, /dev/null or, with terminal, a terminal could be connected to somewhere else,
// or be opened again as something else.
func Check(files [3]*os.File, terminal bool) error {
	for i, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return fmt.Errorf("look at stream %d: %w", i, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFIFO:
			continue
		case unix.S_IFCHR:
			if st.Rdev == unix.Mkdev(1, 3) { // /dev/null
				continue
			}
			if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil && terminal {
				continue
			}
		}
		return fmt.Errorf("stream %d is not a file, a pipe, /dev/null or a terminal", i)
	}
	return nil
}
