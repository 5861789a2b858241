package packet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of a conversation. Send may be called concurrently, Recv by
// one goroutine.
type Conn struct {
	uc    *net.UnixConn
	size  int // of a packet, in bytes
	files int // descriptors of a packet

	discard func([]*os.File)
}

// NewConn speaks over uc, a seqpacket socket, which it takes over. No packet has
// more than size bytes or files descriptors, in either direction.
func NewConn(uc *net.UnixConn, size, files int) *Conn {
	return &Conn{uc: uc, size: size, files: files}
}

// SetDeadline bounds the calls that follow, see net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.uc.SetDeadline(t) }

// SetReadDeadline bounds the Recv calls that follow, see net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }

// SetWriteDeadline bounds the Send calls that follow, see net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.uc.SetWriteDeadline(t) }

// Close ends the conversation.
func (c *Conn) Close() error { return c.uc.Close() }

// Raw gives the socket, for peer credentials.
func (c *Conn) Raw() *net.UnixConn { return c.uc }

// OnDiscard makes f the one that closes descriptors which came with a packet
// that was refused. Closing what a hostile peer sent can block for as long as the
// peer likes (a file of a FUSE server of its own, a socket that lingers). It is
// called before the first Recv.
func (c *Conn) OnDiscard(f func([]*os.File)) { c.discard = f }

// Discard closes files that nobody asked for.
func (c *Conn) Discard(files []*os.File) {
	if c.discard != nil {
		c.discard(files)
		return
	}
	CloseAll(files)
}

// Send writes one packet and copies of files, which stay the caller's.
func (c *Conn) Send(b []byte, files ...*os.File) error {
	if len(b) == 0 || len(b) > c.size {
		return fmt.Errorf("send message: %d bytes, not from 1 to %d", len(b), c.size)
	}
	if len(files) > c.files {
		return fmt.Errorf("send message: %d descriptors, more than %d", len(files), c.files)
	}
	oob, err := grant(files)
	if err != nil {
		return err
	}
	_, _, err = c.uc.WriteMsgUnix(b, oob, nil)
	runtime.KeepAlive(files)
	if err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Recv reads one packet and its descriptors, which are close-on-exec and the
// caller's. io.EOF means that the other end is gone. After any other error
// nothing of the packet is left open, and the conversation is over.
func (c *Conn) Recv() ([]byte, []*os.File, error) {
	length, err := c.next()
	if err != nil {
		return nil, nil, err
	}
	buf := make([]byte, length)
	// One more than allowed: too many are seen, received and closed rather than
	// cut off by the kernel.
	oob := make([]byte, unix.CmsgSpace((c.files+1)*4))
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(buf, oob)
	if errors.Is(err, unix.ECONNRESET) {
		n, oobn, flags, _, err = c.uc.ReadMsgUnix(buf, oob) // see next
	}
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) {
			return nil, nil, io.EOF
		}
		return nil, nil, fmt.Errorf("receive message: %w", err)
	}
	files, err := rights(oob[:oobn])
	switch {
	case err != nil:
	case n == 0 && len(files) == 0:
		return nil, nil, io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > c.size:
		err = fmt.Errorf("receive message: more than %d bytes or %d descriptors", c.size, c.files)
	case len(files) > c.files:
		err = fmt.Errorf("receive message: more than %d descriptors", c.files)
	case n == 0:
		err = errors.New("receive message: empty")
	}
	if err != nil {
		c.Discard(files)
		return nil, nil, err
	}
	return buf[:n:n], files, nil
}

// next waits for a packet and returns how much room reading it takes: a
// conversation in which nothing is said costs no buffer.
//
// An end that is closed with something unread resets the connection, which is told
// once, and before what that end had sent (unix_release_sock): its last word may
// still be there to read.
func (c *Conn) next() (int, error) {
	raw, err := c.uc.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("receive message: %w", err)
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		reset := false
		for {
			n, _, failed = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			switch {
			case errors.Is(failed, unix.EINTR):
			case errors.Is(failed, unix.ECONNRESET) && !reset:
				reset = true
			default:
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	if err == nil {
		err = failed
	}
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, unix.ECONNRESET):
		return 0, io.EOF
	case err != nil:
		return 0, fmt.Errorf("receive message: %w", err)
	}
	return min(n, c.size) + 1, nil
}

// Pair makes the two ends of a connection. The second is for another process.
func Pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "their socket")
	ours, err := Open(os.NewFile(uintptr(fds[0]), "our socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
