package proxyctl

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Conn is one end of the conversation. Send may be called concurrently, Recv
// by one goroutine.
type Conn struct {
	uc  *net.UnixConn
	buf []byte // Recv's
}

// Pair makes the two ends of a connection. The second is donated to the proxy
// role and closed by the caller after the role has started.
func Pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "role's socket")
	ours, err := Open(os.NewFile(uintptr(fds[0]), "supervisor's socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Open makes a connection of a donated socket; it takes over f.
func Open(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("open control socket: %T is no unix socket", nc)
	}
	return uc, nil
}

// NewConn speaks the conversation over uc, which it takes over.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{uc: uc} }

// Send writes one message.
func (c *Conn) Send(m *Message) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return c.write(m.Op, b)
}

func (c *Conn) write(op Op, b []byte) error {
	if _, err := c.uc.Write(b); err != nil {
		return fmt.Errorf("send %s message: %w", op, err)
	}
	return nil
}

// Recv reads one message. Descriptors that come with it are never accepted:
// without a control buffer the kernel drops them. io.EOF means that the other
// end is gone.
func (c *Conn) Recv() (*Message, error) {
	if c.buf == nil {
		c.buf = make([]byte, MaxMessage+1)
	}
	n, _, flags, _, err := c.uc.ReadMsgUnix(c.buf, nil)
	if errors.Is(err, unix.ECONNRESET) {
		// It ended with something of ours unread, which is told once and before what it
		// said last.
		n, _, flags, _, err = c.uc.ReadMsgUnix(c.buf, nil)
	}
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("receive message: %w", err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, errors.New("receive message: truncated")
	}
	return Decode(c.buf[:n])
}

// Close ends the conversation.
func (c *Conn) Close() error { return c.uc.Close() }
