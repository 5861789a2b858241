package bossctl

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/penstock/penstock/supervisor/packet"
)

// Conn is one end of the conversation. Send may be called concurrently, Recv by
// one goroutine.
type Conn struct{ *packet.Conn }

// NewConn speaks the conversation over uc, a seqpacket socket, which it takes over.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{packet.NewConn(uc, MaxMessage, MaxFiles)} }

// Open is NewConn of a donated socket; it takes over f.
func Open(f *os.File) (*Conn, error) {
	uc, err := packet.Open(f)
	if err != nil {
		return nil, err
	}
	return NewConn(uc), nil
}

// Send writes one message and copies of files, which stay the caller's.
func (c *Conn) Send(m *Message, files ...*os.File) error {
	b, err := m.Encode()
	if err == nil {
		err = c.Conn.Send(b, files...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.Op, err)
	}
	return nil
}

// Recv reads one message and its descriptors, which are close-on-exec and the
// caller's; only OpAssign has any. io.EOF means that the other end is gone. After
// any other error the conversation is over.
func (c *Conn) Recv() (*Message, []*os.File, error) {
	b, files, err := c.Conn.Recv()
	if err != nil {
		return nil, nil, err
	}
	m, err := Decode(b)
	if err == nil {
		err = m.checkFiles(len(files))
	}
	if err != nil {
		c.Discard(files)
		return nil, nil, err
	}
	return m, files, nil
}

// checkFiles tells whether m can have come with n descriptors.
func (m *Message) checkFiles(n int) error {
	want := 0
	if m.Op == OpAssign {
		want = AssignAudit + 1
		if m.Assign.Events {
			want = AssignEvents + 1
		}
	}
	if n != want {
		return errors.New("receive message: " + string(m.Op) + fmt.Sprintf(" with %d descriptors, not %d", n, want))
	}
	return nil
}
