//go:build unix

package proxyctl

import (
	"fmt"
	"net"
	"os"

	"github.com/penstock/penstock/supervisor/packet"
)

// Conn is one end of the conversation. Send may be called concurrently, Recv
// by one goroutine.
type Conn struct {
	uc   *net.UnixConn
	line line
}

// line carries messages one by one, and no descriptors. io.EOF of recv means that the
// other end is gone.
type line interface {
	send(b []byte) error
	recv() ([]byte, error)
}

// streamed is the line of systems whose sockets have no packets.
type streamed struct{ s *packet.Stream }

func newStreamed(uc *net.UnixConn) streamed { return streamed{packet.NewStream(uc, MaxMessage, 0)} }

func (l streamed) send(b []byte) error { return l.s.Send(b) }

func (l streamed) recv() ([]byte, error) {
	b, _, err := l.s.Recv()
	return b, err
}

// Open makes a connection of a donated socket; it takes over f.
func Open(f *os.File) (*net.UnixConn, error) { return packet.Open(f) }

// NewConn speaks the conversation over uc, which it takes over.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{uc: uc, line: newLine(uc)} }

// Send writes one message.
func (c *Conn) Send(m *Message) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return c.write(m.Op, b)
}

func (c *Conn) write(op Op, b []byte) error {
	if err := c.line.send(b); err != nil {
		return fmt.Errorf("send %s message: %w", op, err)
	}
	return nil
}

// Recv reads one message. Descriptors that come with it are never accepted. io.EOF
// means that the other end is gone.
func (c *Conn) Recv() (*Message, error) {
	b, err := c.line.recv()
	if err != nil {
		return nil, err
	}
	return Decode(b)
}

// Close ends the conversation.
func (c *Conn) Close() error { return c.uc.Close() }
