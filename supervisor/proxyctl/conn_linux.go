package proxyctl

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxFiles bounds the descriptors of one message.
const maxFiles = 32

// Conn is one end of the conversation. Send may be called concurrently, Recv
// by one goroutine.
type Conn struct {
	uc *net.UnixConn
	mu sync.Mutex
}

// Pair makes the two ends. The second is donated to the proxy role and closed
// by the caller after the role has started.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), FileControl)
	ours := os.NewFile(uintptr(fds[0]), FileControl)
	c, err := NewConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// NewConn takes over f.
func NewConn(f *os.File) (*Conn, error) {
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
	return &Conn{uc: uc}, nil
}

// Send writes one message with its descriptors; they stay the caller's.
func (c *Conn) Send(m *Message, files ...*os.File) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		if len(files) > maxFiles {
			return fmt.Errorf("send %s message: %d descriptors, more than %d", m.Op, len(files), maxFiles)
		}
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, err := c.uc.WriteMsgUnix(b, oob, nil); err != nil {
		return fmt.Errorf("send %s message: %w", m.Op, err)
	}
	return nil
}

// Recv reads one message. The descriptors belong to the caller and are
// close-on-exec. io.EOF means that the other end is gone.
func (c *Conn) Recv() (*Message, []*os.File, error) {
	buf := make([]byte, MaxMessage+1)
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(buf, oob)
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			return nil, nil, io.EOF
		}
		return nil, nil, fmt.Errorf("receive message: %w", err)
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	if n == 0 && len(files) == 0 {
		return nil, nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return nil, nil, errors.New("receive message: truncated")
	}
	m, err := Decode(buf[:n])
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return m, files, nil
}

// Close ends the conversation.
func (c *Conn) Close() error { return c.uc.Close() }

func receivedFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive message: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials or other control data
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
