package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// session is the command and its three streams.
type session struct {
	conn  *wire.Conn
	pid   int
	in    *wire.Receiver
	out   [3]*wire.Sender
	wg    sync.WaitGroup // the streams that the command writes
	tty   *os.File       // the terminal's other side, or nil
	group *os.File       // the command's control group, or nil
}

// serve executes the command and returns after its end was told; then the host takes
// the machine away.
func serve(c *wire.Conn, cmd *wire.Command, g *os.File) error {
	s := &session{conn: c, group: g}
	child, err := s.start(cmd)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go s.listen(ended)
	code, err := s.reap()
	if err != nil {
		return err
	}
	unix.Kill(-1, unix.SIGKILL) //nolint:errcheck // then there is nobody left
	s.drain()
	unix.Sync()
	if failed := child.failed(); failed != nil {
		err = c.Send(*failed)
	} else {
		err = c.Send(wire.Frame{Kind: wire.Exit, Body: []byte{code}})
	}
	if err != nil {
		return err
	}
	<-ended
	return errors.New("the host is gone")
}

// child is what tells whether the command was executed.
type child struct {
	mu   sync.Mutex
	said *wire.Frame
	done chan struct{}
}

func (c *child) failed() *wire.Frame {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

func (s *session) start(cmd *wire.Command) (*child, error) {
	var files [3]*os.File
	var slave *os.File
	if cmd.Terminal != [3]bool{} {
		var err error
		if s.tty, slave, err = terminal(cmd); err != nil {
			return nil, err
		}
	}
	var inner [3]*os.File // our sides
	for i := range files {
		switch {
		case cmd.Terminal[i]:
			files[i] = slave
		case cmd.Closed[i]:
		default:
			r, w, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			// Its own, to open again as /dev/stderr.
			if err := w.Chown(cmd.UID, cmd.GID); err != nil {
				return nil, fmt.Errorf("give a stream away: %w", err)
			}
			if i == 0 {
				files[i], inner[i] = r, w
			} else {
				files[i], inner[i] = w, r
			}
		}
	}
	p, said, err := spawn(cmd, s.group, files, slave)
	if err != nil {
		return nil, err
	}
	s.pid = p
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
	if slave != nil {
		slave.Close()
	}
	s.join(cmd, inner)
	ch := &child{done: make(chan struct{})}
	go func() {
		defer close(ch.done)
		defer said.Close()
		b, _ := io.ReadAll(io.LimitReader(said, 4<<10))
		if len(b) > 0 {
			f := wire.FailedFrame(b[0], string(b[1:]))
			ch.mu.Lock()
			ch.said = &f
			ch.mu.Unlock()
			return
		}
		s.conn.Send(wire.Frame{Kind: wire.Started}) //nolint:errcheck // the next one fails too
	}()
	return ch, nil
}

// join connects our sides of the streams with the host's.
func (s *session) join(cmd *wire.Command, inner [3]*os.File) {
	s.in = wire.NewReceiver(s.conn, 0)
	var in io.WriteCloser = discard{}
	switch {
	case cmd.Terminal[0]:
		in = keep{s.tty}
	case inner[0] != nil:
		in = inner[0]
	}
	go s.in.Run(in)
	shown := false
	for i := 1; i < 3; i++ {
		s.out[i] = wire.NewSender(s.conn, uint8(i))
		var from io.Reader
		switch {
		case inner[i] != nil:
			from = inner[i]
		case cmd.Terminal[i] && !shown:
			from, shown = s.tty, true
		default:
			continue
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.out[i].Run(from) //nolint:errcheck // the host is gone
			if inner[i] != nil {
				inner[i].Close() // so that who writes on learns it
			}
		}()
	}
	if s.tty != nil && !shown {
		s.out[0] = wire.NewSender(s.conn, 0)
		s.wg.Add(1)
		go func() { defer s.wg.Done(); s.out[0].Run(s.tty) }() //nolint:errcheck // the host is gone
	}
}

// drain waits for the streams' ends: every writer is dead.
func (s *session) drain() { s.wg.Wait() }

type discard struct{}

func (discard) Write([]byte) (int, error) { return 0, os.ErrClosed }
func (discard) Close() error              { return nil }

// keep does not close the terminal at the end of what is typed.
type keep struct{ io.Writer }

func (keep) Close() error { return nil }

// listen does what the host says until it is gone.
func (s *session) listen(ended chan<- struct{}) {
	defer close(ended)
	for {
		f, err := s.conn.Receive()
		if err != nil {
			return
		}
		switch f.Kind {
		case wire.Data:
			err = s.in.Data(f.Body)
		case wire.Close:
			if f.Stream == 0 {
				s.in.End()
			} else if o := s.out[f.Stream]; o != nil {
				o.Stop()
			}
		case wire.Credit:
			if o := s.out[f.Stream]; o != nil {
				err = o.Credit(f.Number())
			}
		case wire.Signal:
			unix.Kill(s.pid, unix.Signal(f.Body[0])) //nolint:errcheck // it has ended
		case wire.Size:
			if s.tty != nil {
				rows, columns := f.Window()
				resize(s.tty, rows, columns)
			}
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

// reap waits for the command, and for whatever was left to this process meanwhile.
func (s *session) reap() (uint8, error) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case pid == s.pid && ws.Exited():
			return uint8(ws.ExitStatus()), nil
		case pid == s.pid && ws.Signaled():
			return uint8(128 + int(ws.Signal())), nil
		}
	}
}

// Stage is os.Args[0] of the process that becomes the command.
const Stage = "penstock-stage"

// spawn starts the process that becomes the command. It is this program: what it has to
// give up can't be given up by a fork alone.
func spawn(cmd *wire.Command, g *os.File, files [3]*os.File, slave *os.File) (pid int, said *os.File, err error) {
	doc, err := json.Marshal(cmd)
	if err != nil {
		return 0, nil, err
	}
	orders, give, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer orders.Close()
	said, tell, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer tell.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	fds := []uintptr{null.Fd(), null.Fd(), null.Fd(), orders.Fd(), tell.Fd()}
	for i, f := range files {
		if f != nil {
			fds[i] = f.Fd()
		}
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	if slave != nil {
		fds = append(fds, slave.Fd())
		attr.Setctty, attr.Ctty = true, 5
	}
	if g != nil {
		defer g.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.Fd())
	}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{Stage}, &syscall.ProcAttr{Dir: "/", Env: []string{}, Files: fds, Sys: attr})
	if err != nil {
		return 0, nil, fmt.Errorf("start the command: %w", err)
	}
	go func() {
		give.Write(doc) //nolint:errcheck // it has ended
		give.Close()
	}()
	return pid, said, nil
}

// find looks a command up as a shell does.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	os.Setenv("PATH", search) //nolint:errcheck // this process becomes the command
	return exec.LookPath(name)
}
