package hookctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/supervisor/packet"
)

// Client is the proxy's side. It is safe for concurrent use.
type Client struct {
	conn *packet.Conn

	mu      sync.Mutex
	last    uint64
	started map[uint64]chan answer // asked for, without an answer
	running map[uint64]chan int
	over    bool
}

type answer struct {
	p   *exec.Process
	err error
}

// NewClient speaks over conn, which it takes over.
func NewClient(conn *packet.Conn) *Client {
	c := &Client{conn: conn, started: map[uint64]chan answer{}, running: map[uint64]chan int{}}
	go c.read()
	return c
}

// Close ends the conversation, and with it every process.
func (c *Client) Close() error { return c.conn.Close() }

var errOver = errors.New("nobody starts its process any more")

// Start returns a new process of a hook; see exec.Start.
func (c *Client) Start(ctx context.Context, hook string) (*exec.Process, error) {
	got := make(chan answer, 1)
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return nil, errOver
	}
	c.last++
	id := c.last
	c.started[id] = got
	c.mu.Unlock()
	if err := c.send(&Message{Op: OpStart, ID: id, Hook: hook}); err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.p, a.err
	case <-ctx.Done():
		c.mu.Lock()
		_, waiting := c.started[id]
		delete(c.started, id)
		c.mu.Unlock()
		if waiting {
			c.send(&Message{Op: OpStop, ID: id}) //nolint:errcheck // then it is over for all
		} else if a := <-got; a.p != nil {
			a.p.In.Close()
			a.p.Out.Close()
			a.p.Kill()
		}
		return nil, ctx.Err()
	}
}

func (c *Client) send(m *Message) error {
	b, err := m.Encode()
	if err == nil {
		err = c.conn.Send(b)
	}
	return err
}

func (c *Client) read() {
	for {
		b, files, err := c.conn.Recv()
		var m *Message
		if err == nil {
			m, err = Decode(b)
		}
		if err == nil {
			err = c.take(m, files)
		}
		if err != nil {
			packet.CloseAll(files)
			break
		}
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for id, got := range c.started {
		got <- answer{err: errOver}
		delete(c.started, id)
	}
	for id, ended := range c.running {
		ended <- -1
		delete(c.running, id)
	}
}

// take obeys one message. After an error the conversation is over.
func (c *Client) take(m *Message, files []*os.File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, asked := c.started[m.ID]
	switch m.Op {
	case OpStarted:
		if len(files) != 2 {
			return errors.New("a process without its two ends")
		}
		in, err := pipe(files[0])
		if err != nil {
			files[1].Close()
			return err
		}
		out, err := pipe(files[1])
		if err != nil {
			in.Close()
			return err
		}
		if !asked { // nobody waits for it any more; it has been told to stop
			in.Close()
			out.Close()
			return nil
		}
		ended := make(chan int, 1)
		c.running[m.ID] = ended
		id := m.ID
		got <- answer{p: &exec.Process{In: in, Out: out, Ended: ended, Kill: func() {
			c.send(&Message{Op: OpStop, ID: id}) //nolint:errcheck // then the supervisor is gone, and so is the process
		}}}
		delete(c.started, m.ID)
	case OpFailed:
		if asked {
			got <- answer{err: errors.New(m.Error)}
			delete(c.started, m.ID)
		}
	case OpEnded:
		if ended, ok := c.running[m.ID]; ok {
			ended <- m.Code
			delete(c.running, m.ID)
		}
	default:
		return fmt.Errorf("supervisor sent %s", m.Op)
	}
	return nil
}

// pipe makes an end that has deadlines of one that was received, and takes it over.
func pipe(f *os.File) (*os.File, error) {
	defer f.Close()
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.New("what is to be a hook's standard stream is no pipe")
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		return nil, err
	}
	return os.NewFile(uintptr(own), "hook"), nil
}
