package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// frameSize is the fixed length of a message about sockets: on a stream socket
// the reader must not take bytes that follow it.
const frameSize = 4096

// nextSize bounds the message about the next command.
const nextSize = 64 << 10

// frame travels from the role to its starter, and on to the proxy role.
type frame struct {
	Names []string `json:"names,omitempty"` // of the descriptors that come with it

	// Set when building failed.
	Step  Step   `json:"step,omitempty"`
	Errno int    `json:"errno,omitempty"`
	Text  string `json:"text,omitempty"`
}

func (f *frame) encode() ([]byte, error) {
	if len(f.Text) > 1024 {
		f.Text = f.Text[:1024]
	}
	doc, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	if len(doc) > frameSize {
		return nil, fmt.Errorf("message of %d bytes", len(doc))
	}
	out := make([]byte, frameSize) // JSON ignores the padding after it, which is spaces
	for i := copy(out, doc); i < len(out); i++ {
		out[i] = ' '
	}
	return out, nil
}

func socketsFrame(s *Sockets) (*frame, []int) {
	f := &frame{}
	var fds []int
	for _, sl := range s.slots() {
		if *sl.file != nil {
			f.Names = append(f.Names, sl.name)
			fds = append(fds, int((*sl.file).Fd()))
		}
	}
	return f, fds
}

// Send hands copies of the sockets to the peer of c, a unix socket of type
// stream or seqpacket, which takes them with ReceiveSockets. s stays the
// caller's.
func (s *Sockets) Send(c *net.UnixConn) error {
	// Fd would make the files blocking, for every process that shares them.
	var names []string
	var fds []int
	for _, sl := range s.slots() {
		if *sl.file == nil {
			continue
		}
		raw, err := (*sl.file).SyscallConn()
		if err != nil {
			return fmt.Errorf("send the pen's sockets: %w", err)
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return fmt.Errorf("send the pen's sockets: %w", err)
		}
		names = append(names, sl.name)
	}
	doc, err := (&frame{Names: names}).encode()
	if err != nil {
		return fmt.Errorf("send the pen's sockets: %w", err)
	}
	n, _, err := c.WriteMsgUnix(doc, unix.UnixRights(fds...), nil)
	if err == nil && n < len(doc) {
		_, err = c.Write(doc[n:])
	}
	if err != nil {
		return fmt.Errorf("send the pen's sockets: %w", err)
	}
	return nil
}

// ReceiveSockets takes the sockets that the peer of c sends with Send. It
// reads exactly that message.
func ReceiveSockets(c *net.UnixConn) (*Sockets, error) {
	f, files, err := readFrame(c)
	if err != nil {
		return nil, fmt.Errorf("receive the pen's sockets: %w", err)
	}
	if f.Step != "" {
		closeAll(files)
		return nil, &stepError{Step: f.Step, Err: frameError(f)}
	}
	s, err := SocketsFrom(files)
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return s, nil
}

func closeAll(files map[string]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// readFrame reads one frame with its descriptors, which are close-on-exec.
func readFrame(c *net.UnixConn) (*frame, map[string]*os.File, error) {
	buf := make([]byte, frameSize)
	oob := make([]byte, unix.CmsgSpace(16*4))
	got := 0
	var fds []int
	// Once a descriptor has arrived, leaving early must close it.
	fail := func(err error) (*frame, map[string]*os.File, error) {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, nil, err
	}
	for got < len(buf) {
		n, oobn, flags, _, err := c.ReadMsgUnix(buf[got:], oob)
		if oobn > 0 {
			more, perr := parseRights(oob[:oobn])
			fds = append(fds, more...)
			if perr != nil {
				return fail(perr)
			}
		}
		if err == nil && flags&unix.MSG_CTRUNC != 0 {
			err = errors.New("descriptors lost")
		}
		// A peer that ended with something of ours unread resets the connection.
		if err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		if err != nil {
			if got > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fail(err)
		}
		got += n
	}
	var f frame
	if err := json.Unmarshal(buf, &f); err != nil {
		return fail(err)
	}
	if len(f.Names) != len(fds) {
		return fail(fmt.Errorf("%d names for %d descriptors", len(f.Names), len(fds)))
	}
	files := make(map[string]*os.File, len(fds))
	for i, fd := range fds {
		if files[f.Names[i]] != nil {
			closeAll(files)
			fds = fds[i:]
			return fail(errors.New("a name twice"))
		}
		// Not with the runtime poller: a listener in it would wake this process
		// for each connection even when it only hands the descriptor on.
		files[f.Names[i]] = rawFile(fd, f.Names[i])
	}
	return &f, files, nil
}

func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range got {
			unix.CloseOnExec(fd) // ReadMsgUnix asks for MSG_CMSG_CLOEXEC as well
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func frameError(f *frame) error {
	if f.Errno != 0 {
		return &remoteError{text: f.Text, errno: syscall.Errno(f.Errno)}
	}
	return errors.New(f.Text)
}

// remoteError is an error of the role: its text there, its errno for errors.Is.
type remoteError struct {
	text  string
	errno syscall.Errno
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.errno }
