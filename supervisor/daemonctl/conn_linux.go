package daemonctl

import (
	"net"
	"os"

	"github.com/penstock/penstock/supervisor/packet"
)

// Conn is one end of the conversation. Send may be called concurrently, Recv by
// one goroutine.
type Conn struct{ *packet.Conn }

// NewConn speaks the conversation over uc, a seqpacket socket, which it takes over.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{packet.NewConn(uc, MaxMessage, MaxFiles)} }

// Send writes one message and copies of files, which stay the caller's.
func (c *Conn) Send(m *Message, files ...*os.File) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return c.Conn.Send(b, files...)
}

// Recv reads one message and its descriptors, which are close-on-exec and the
// caller's. io.EOF means that the other end is gone. After any other error
// nothing of the message is left open, and the conversation is over.
func (c *Conn) Recv() (*Message, []*os.File, error) {
	b, files, err := c.Conn.Recv()
	if err != nil {
		return nil, nil, err
	}
	m, err := Decode(b)
	if err != nil {
		c.Discard(files)
		return nil, nil, err
	}
	return m, files, nil
}

// CloseAll closes files that nobody asked for.
func CloseAll(files []*os.File) { packet.CloseAll(files) }
