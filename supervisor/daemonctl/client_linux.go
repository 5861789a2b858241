package daemonctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client is a caller's side. Its calls may be made from several goroutines, and
// wait for each other; one that fails ends the conversation, and with it the
// session.
type Client struct {
	conn    *Conn
	replies chan answer
	done    chan struct{}
	once    sync.Once // of close
	turn    sync.Mutex

	mu     sync.Mutex
	ending string // the daemon's reason
	failed bool   // it is a failure
	err    error  // why the conversation ended; there after done
}

type answer struct {
	m     *Message
	files []*os.File
}

// Dial connects to the daemon at path. Its error is an *Error; errors.Is tells
// fs.ErrNotExist and unix.ECONNREFUSED (there is none), and fs.ErrPermission.
func Dial(ctx context.Context, path string) (*Client, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	for errors.Is(err, unix.EAGAIN) && ctx.Err() == nil { // its queue is full (unix(7))
		select {
		case <-time.After(5 * time.Millisecond):
			c, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		case <-ctx.Done():
		}
	}
	if err != nil {
		e := &Error{Text: fmt.Sprintf("connect to the supervisor: %v", err), err: err}
		switch {
		case errors.Is(err, fs.ErrPermission):
			e.hint = "only members of the group penstock may use it: usermod -aG penstock USER, then log in anew; or use --rootless"
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
			e.hint = "start it (systemctl enable --now penstock.socket, or penstock supervise), or use --rootless"
		}
		return nil, e
	}
	return NewClient(NewConn(c)), nil
}

// NewClient starts reading from conn.
func NewClient(conn *Conn) *Client {
	c := &Client{conn: conn, replies: make(chan answer, 1), done: make(chan struct{})}
	go c.read()
	return c
}

func (c *Client) read() {
	defer close(c.done)
	for {
		m, files, err := c.conn.Recv()
		if err == nil && m.Op.FromCaller() {
			err = fmt.Errorf("supervisor sent a caller's message: %s", m.Op)
		}
		if err != nil {
			CloseAll(files)
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if m.Op == OpEnding {
			CloseAll(files)
			c.mu.Lock()
			c.ending, c.failed = m.Text, m.Failed
			c.mu.Unlock()
			continue
		}
		select {
		case c.replies <- answer{m, files}:
		default:
			CloseAll(files)
			c.mu.Lock()
			c.err = fmt.Errorf("supervisor sent %s without being asked", m.Op)
			c.mu.Unlock()
			return
		}
	}
}

// Done is closed when the daemon has ended the conversation, or is gone: the
// session is over then.
func (c *Client) Done() <-chan struct{} { return c.done }

// Ending is the reason with which the daemon ended the session, "" if it said
// none: then it is gone.
func (c *Client) Ending() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// Failed tells whether the session ended because the daemon could not go on with
// it, rather than because somebody wanted it.
func (c *Client) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed || c.ending == "" && c.err != nil
}

// Why says why the daemon ended the session, once Done is closed.
func (c *Client) Why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ending != "":
		return &Error{Text: "the supervisor ended the session: " + c.ending}
	case c.err == nil || errors.Is(c.err, io.EOF):
		return &Error{Text: "the supervisor is gone"}
	}
	return &Error{Text: "the supervisor is gone: " + c.err.Error(), err: c.err}
}

// Close ends the conversation and waits for its reader. It may be called twice.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() {
		err = c.conn.Close()
		<-c.done
		select {
		case a := <-c.replies:
			CloseAll(a.files)
		default:
		}
	})
	return err
}

// call sends m and returns the answer, which is of op want with n descriptors.
func (c *Client) call(ctx context.Context, m *Message, want Op, n int, files ...*os.File) (*Message, []*os.File, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	got, received, err := c.exchange(ctx, m, files)
	switch {
	case err != nil:
	case got.Op == OpError:
		err = &Error{Text: got.Text, hint: got.Hint}
	case got.Op != want:
		err = fmt.Errorf("supervisor answered %s with %s", m.Op, got.Op)
	case len(received) != n:
		err = fmt.Errorf("supervisor answered %s with %d descriptors, not %d", m.Op, len(received), n)
	}
	if err != nil {
		CloseAll(received)
		c.conn.Close() // an answer that comes late would be taken for another's
		return nil, nil, err
	}
	return got, received, nil
}

func (c *Client) exchange(ctx context.Context, m *Message, files []*os.File) (*Message, []*os.File, error) {
	// After a failed send too: the daemon's reason may be there already.
	sent := c.conn.Send(m, files...)
	if sent != nil && !errors.Is(sent, unix.EPIPE) && !errors.Is(sent, unix.ECONNRESET) {
		return nil, nil, sent
	}
	select {
	case a := <-c.replies:
		return a.m, a.files, nil
	case <-c.done:
		select {
		case a := <-c.replies:
			return a.m, a.files, nil
		default:
			return nil, nil, c.Why()
		}
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("wait for the supervisor's answer to %s: %w", m.Op, ctx.Err())
	}
}

// Open begins the session. control is the conversation with its proxy (see
// proxyctl), audit its file, open for reading; both are the caller's.
func (c *Client) Open(ctx context.Context, o *Open) (opened *Opened, control, audit *os.File, err error) {
	m, files, err := c.call(ctx, &Message{Op: OpOpen, Version: Version, Open: o}, OpOpened, FilesOpened)
	if err != nil {
		return nil, nil, nil, err
	}
	return m.Opened, files[0], files[1], nil
}

// Join puts the pen's first process, which must have no_new_privs set, into the
// session's control group.
func (c *Client) Join(ctx context.Context, pidfd *os.File) error {
	_, _, err := c.call(ctx, &Message{Op: OpJoin}, OpJoined, 0, pidfd)
	return err
}

// Network hands the pen's sockets over, by their names (see netns.Sockets.Files),
// and its network namespace.
func (c *Client) Network(ctx context.Context, sockets map[string]*os.File, netns *os.File) error {
	m := &Message{Op: OpNetwork}
	var files []*os.File
	for name, f := range sockets {
		m.Sockets, files = append(m.Sockets, name), append(files, f)
	}
	_, _, err := c.call(ctx, m, OpNetworked, 0, append(files, netns)...)
	return err
}

// Verify has the daemon look at the held shim; after it the proxy has the pen's
// sockets.
func (c *Client) Verify(ctx context.Context, pidfd *os.File) error {
	_, _, err := c.call(ctx, &Message{Op: OpVerify}, OpVerified, 0, pidfd)
	return err
}

// Flush has the proxy record what limits the pen has hit so far.
func (c *Client) Flush(ctx context.Context) error {
	_, _, err := c.call(ctx, &Message{Op: OpFlush}, OpFlushed, 0)
	return err
}

// Freeze stops the pen's processes, or lets them go on.
func (c *Client) Freeze(ctx context.Context, on bool) error {
	m, _, err := c.call(ctx, &Message{Op: OpFreeze, On: on}, OpFrozen, 0)
	if err == nil && m.Text != "" {
		err = &Error{Text: m.Text}
	}
	return err
}

// Alive says that the terminal was used.
func (c *Client) Alive(ctx context.Context) error {
	_, _, err := c.call(ctx, &Message{Op: OpAlive}, OpNoted, 0)
	return err
}

// End ends the session; when it returns nothing of it is left.
func (c *Client) End(ctx context.Context, e *End) error {
	_, _, err := c.call(ctx, &Message{Op: OpEnd, End: e}, OpEnded, 0)
	return err
}

// List returns the caller's sessions, root's everybody's.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	m, _, err := c.call(ctx, &Message{Op: OpList, Version: Version}, OpSessions, 0)
	if err != nil {
		return nil, err
	}
	return m.List, nil
}

// Kill ends a session, named by its id or the beginning of one, and returns the
// id.
func (c *Client) Kill(ctx context.Context, session string) (string, error) {
	m, _, err := c.call(ctx, &Message{Op: OpKill, Version: Version, Session: session}, OpKilled, 0)
	if err != nil {
		return "", err
	}
	return m.Session, nil
}

// Audit opens the caller's audit directory for reading.
func (c *Client) Audit(ctx context.Context) (*os.File, error) {
	_, files, err := c.call(ctx, &Message{Op: OpAudit, Version: Version}, OpDirectory, 1)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// Status returns what the daemon can do.
func (c *Client) Status(ctx context.Context) (*Daemon, error) {
	m, _, err := c.call(ctx, &Message{Op: OpStatus, Version: Version}, OpDaemon, 0)
	if err != nil {
		return nil, err
	}
	return m.Daemon, nil
}
