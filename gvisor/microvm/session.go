package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/guest"
	"github.com/penstock/penstock/gvisor/microvm/stack"
	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// begin runs the command and returns its exit code.
func begin(m *machine) int {
	// From here on: a signal may come before there is anybody to pass it to.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	signal.Reset(syscall.SIGCHLD, syscall.SIGURG)
	c, tty, err := command(m)
	if err != nil {
		return broken(err)
	}
	defer tty.restore()
	v, err := start(m)
	if err != nil {
		return broken(err)
	}
	defer v.close()
	ends, err := stack.New(v.link, stack.Dialer{Gateway: net.ParseIP(guest.Gateway), Local: m.relay})
	if err != nil {
		return broken(err)
	}
	s := &session{conn: wire.NewConn(v.port), said: make(chan event, 1)}
	code, err := s.run(m, c, tty, v, signals)
	v.cmd.Process.Kill() //nolint:errcheck // it has ended
	ends.Close()
	if err != nil {
		return broken(err)
	}
	return code
}

// command is what the guest is told.
func command(m *machine) (*wire.Command, *terminal, error) {
	c := &wire.Command{
		Argv: m.argv, Env: os.Environ(), Dir: m.dir, UID: m.uid, GID: m.gid, Hostname: m.host,
		PIDs: m.pids, Tmpfs: m.tmpfs, Relay: m.relay,
	}
	c.Umask = unix.Umask(0)
	unix.Umask(c.Umask)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, nil, err
	}
	c.Files = files.Max
	if m.filter != "" {
		var err error
		if c.Filter, err = os.ReadFile(m.filter); err != nil {
			return nil, nil, fmt.Errorf("read the command's seccomp filter: %w", err)
		}
	}
	for i := range c.Closed {
		_, err := unix.FcntlInt(uintptr(i), unix.F_GETFD, 0)
		c.Closed[i] = errors.Is(err, unix.EBADF)
	}
	tty, err := open(m.streams, c)
	return c, tty, err
}

// session is the conversation with the guest.
type session struct {
	conn *wire.Conn
	in   *wire.Sender
	out  [3]*wire.Receiver
	wg   sync.WaitGroup // of out
	said chan event
}

// event is the end of a conversation.
type event struct {
	code int
	text string // why it was not executed
	err  error
}

// hello is the guest's first word.
func (s *session) hello(result chan<- error) {
	f, err := s.conn.Receive()
	if err == nil && f.Kind != wire.Hello {
		err = fmt.Errorf("%w: kind %d before the machine was up", wire.ErrFrame, f.Kind)
	}
	result <- err
}

func (s *session) run(m *machine, c *wire.Command, tty *terminal, v *vm, signals <-chan os.Signal) (int, error) {
	if code, err := s.await(m, v, signals); errors.Is(err, errSignal) {
		return code, nil
	} else if err != nil {
		return 0, err
	}
	c.Time = time.Now().UnixNano()
	doc, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	if err := s.conn.Send(wire.Frame{Kind: wire.Start, Body: doc}); err != nil {
		return 0, v.ended(fmt.Errorf("start the command: %w", err))
	}
	tty.raw()
	s.join(c)
	go s.listen()
	for {
		select {
		case e := <-s.said:
			s.finish()
			switch {
			case e.err != nil:
				return 0, v.ended(e.err)
			case e.text != "":
				fmt.Fprintf(os.Stderr, "penstock: %s: %s\n", m.argv[0], strings.ReplaceAll(e.text, "\n", " "))
			}
			return e.code, nil
		case <-v.done:
			// What it had said comes first.
			select {
			case e := <-s.said:
				if e.err == nil {
					s.finish()
					return e.code, nil
				}
			case <-time.After(time.Second):
			}
			return 0, fmt.Errorf("the machine ended: %w", v.why())
		case sig := <-signals:
			s.pass(sig, tty)
		}
	}
}

// ended says what became of the machine with which a conversation broke off.
func (v *vm) ended(err error) error {
	if errors.Is(err, wire.ErrFrame) {
		return err
	}
	select {
	case <-v.done:
		return fmt.Errorf("the machine ended: %w", v.why())
	case <-time.After(time.Second):
		return fmt.Errorf("%w: %w", err, v.why())
	}
}

// join connects the streams.
func (s *session) join(c *wire.Command) {
	s.in = wire.NewSender(s.conn, 0)
	if !c.Closed[0] {
		go s.in.Run(os.Stdin) //nolint:errcheck // the machine is gone
	}
	shown := false
	for i, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		s.out[i] = wire.NewReceiver(s.conn, uint8(i))
		to := io.WriteCloser(f)
		switch {
		case c.Closed[i], c.Terminal[i] && shown, i == 0 && !c.Terminal[0]:
			continue
		case i == 2 && !c.Terminal[2]:
			to = kept{f} // for what is said of the session's end
		case c.Terminal[i]:
			to = kept{f}
			if i == 0 && (c.Terminal[1] || c.Terminal[2]) {
				continue
			}
			shown = true
		}
		s.wg.Add(1)
		go func() { defer s.wg.Done(); s.out[i].Run(to) }()
	}
}

// kept is a stream that stays.
type kept struct{ io.Writer }

func (kept) Close() error { return nil }

// finish returns when all that came has been written.
func (s *session) finish() {
	for _, o := range s.out {
		o.End()
	}
	s.wg.Wait()
}

// listen takes what the guest says, to its last word.
func (s *session) listen() {
	for {
		f, err := s.conn.Receive()
		if err != nil {
			s.said <- event{err: err}
			return
		}
		switch f.Kind {
		case wire.Started:
		case wire.Data:
			err = s.out[f.Stream].Data(f.Body)
		case wire.Close:
			if f.Stream == 0 {
				s.in.Stop()
			} else {
				s.out[f.Stream].End()
			}
		case wire.Credit:
			if f.Stream == 0 {
				err = s.in.Credit(f.Number())
			}
		case wire.Failed:
			s.said <- event{code: int(f.Body[0]), text: string(f.Body[1:])}
			return
		case wire.Exit:
			s.said <- event{code: int(f.Body[0])}
			return
		default:
			err = fmt.Errorf("%w: kind %d", wire.ErrFrame, f.Kind)
		}
		if err != nil {
			s.said <- event{err: err}
			return
		}
	}
}

// pass hands a signal to the command.
func (s *session) pass(sig os.Signal, tty *terminal) {
	n, _ := sig.(syscall.Signal)
	if n == syscall.SIGPIPE {
		return // a stream's reader is gone: the guest is told so
	}
	if n == syscall.SIGWINCH {
		if rows, columns, ok := tty.size(); ok {
			s.conn.Send(wire.SizeFrame(rows, columns)) //nolint:errcheck // it has ended
			return
		}
	}
	if n > 0 && n < 128 {
		s.conn.Send(wire.Frame{Kind: wire.Signal, Body: []byte{byte(n)}}) //nolint:errcheck // it has ended
	}
}
