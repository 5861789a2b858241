package daemonctl

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

// Conn is one end of the conversation. Send may be called concurrently, Recv by
// one goroutine.
type Conn struct{ uc *net.UnixConn }

// NewConn speaks the conversation over uc, a seqpacket socket, which it takes over.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{uc: uc} }

// SetDeadline bounds the calls that follow, see net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.uc.SetDeadline(t) }

// SetReadDeadline bounds the Recv calls that follow, see net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }

// Send writes one message and copies of files, which stay the caller's.
func (c *Conn) Send(m *Message, files ...*os.File) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	if len(files) > MaxFiles {
		return fmt.Errorf("send %s message: %d descriptors, more than %d", m.Op, len(files), MaxFiles)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			// Fd would make the file blocking for every process that shares it.
			raw, err := f.SyscallConn()
			if err == nil {
				err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
			}
			if err != nil {
				return fmt.Errorf("send %s message: %w", m.Op, err)
			}
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.uc.WriteMsgUnix(b, oob, nil)
	runtime.KeepAlive(files)
	if err != nil {
		return fmt.Errorf("send %s message: %w", m.Op, err)
	}
	return nil
}

// Recv reads one message and its descriptors, which are close-on-exec and the
// caller's. io.EOF means that the other end is gone. After any other error
// nothing of the message is left open, and the conversation is over.
func (c *Conn) Recv() (*Message, []*os.File, error) {
	buf := make([]byte, MaxMessage+1)
	// One more than allowed: too many are seen, received and closed rather than
	// cut off by the kernel.
	oob := make([]byte, unix.CmsgSpace((MaxFiles+1)*4))
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(buf, oob)
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) {
			return nil, nil, io.EOF
		}
		return nil, nil, fmt.Errorf("receive message: %w", err)
	}
	files, err := rights(oob[:oobn])
	switch {
	case err != nil:
	case n == 0 && oobn == 0:
		return nil, nil, io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("receive message: truncated")
	case len(files) > MaxFiles:
		err = fmt.Errorf("receive message: more than %d descriptors", MaxFiles)
	}
	var m *Message
	if err == nil {
		m, err = Decode(buf[:n])
	}
	if err != nil {
		CloseAll(files)
		return nil, nil, err
	}
	return m, files, nil
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd) // ReadMsgUnix asks for MSG_CMSG_CLOEXEC as well
			files = append(files, unpolled(fd))
		}
	}
	return files, nil
}

// unpolled wraps fd without giving it to the runtime poller, which decides by
// O_NONBLOCK: a pen's listener in it would wake this process for each connection.
func unpolled(fd int) *os.File {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		return os.NewFile(uintptr(fd), "received")
	}
	unix.SetNonblock(fd, false) //nolint:errcheck // then it is polled
	f := os.NewFile(uintptr(fd), "received")
	unix.SetNonblock(fd, true) //nolint:errcheck // as it came
	return f
}

// CloseAll closes files that nobody asked for.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Close ends the conversation.
func (c *Conn) Close() error { return c.uc.Close() }

// Raw gives the socket, for peer credentials.
func (c *Conn) Raw() *net.UnixConn { return c.uc }
