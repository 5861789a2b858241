package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/execctl"
	"github.com/penstock/penstock/supervisor/packet"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// further are the commands that were started in the session beside its own.
type further struct {
	line *packet.Conn // to who starts them in the pen; nil: the tier has nobody
	pen  *os.File     // its other end, until the pen has it
	id   posture.FileID

	mu    sync.Mutex
	roots []int  // processes that are in the pen without descending from its first
	open  bool   // the session's own command runs
	last  uint64 // number
	count int
	work  sync.WaitGroup
}

const (
	// mostFurther bounds those that run at a time.
	mostFurther = 64
	// askTime bounds what a caller may take to say what is to be started.
	askTime = 10 * time.Second
	// killed is the exit code of what the kernel has ended.
	killed = 128 + int(unix.SIGKILL)
	// overTime is how long the end of what is killed waits for the session's.
	overTime = 250 * time.Millisecond
	// sayTime bounds what somebody may take to hear something.
	sayTime = 5 * time.Second
)

// openFurther makes the line if the tier can start further commands.
func (s *session) openFurther() error {
	b, ok := s.backend.(interface{ Further() bool })
	if !ok || !b.Further() {
		return nil
	}
	uc, pen, err := packet.Pair()
	if err != nil {
		return err
	}
	s.further.line, s.further.pen = packet.NewConn(uc, 1, 1), pen
	s.undo.push(func() { s.further.line.Close(); pen.Close() })
	s.further.id, err = posture.Identify(pen)
	return err
}

// begin lets commands be started, as the session's own has been.
func (x *further) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open = true
}

// finish waits until what has become of each is recorded. The pen is gone, and they
// with it.
func (x *further) finish() {
	x.mu.Lock()
	x.open = false
	x.mu.Unlock()
	x.work.Wait()
}

// add counts what descends from a process as the pen's.
func (x *further) add(pid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.roots = append(x.roots, pid)
}

func (x *further) remove(pid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.roots = slices.DeleteFunc(x.roots, func(r int) bool { return r == pid })
}

// all is the pen's first process and those beside it.
func (x *further) all(first int) []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]int{first}, x.roots...)
}

// takeFurther says who goes on with a caller of penstock exec, whose process is pid.
func (s *session) takeFurther(pid int) (func(*net.UnixConn), error) {
	x := &s.further
	if _, ok := s.backend.(filtered); !ok && x.line == nil {
		return nil, fmt.Errorf("tier %s takes no further command: only sessions of the tiers bwrap and gvisor do", s.backend.Name())
	} else if ok && s.daemon != nil {
		return nil, errors.New("under the privileged supervisor tier bwrap takes no further command: only sessions of the tier gvisor do, or those that were started with --rootless")
	}
	if err := s.takes(); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.count == mostFurther {
		return nil, fmt.Errorf("%d further commands run in the session, and no more may", mostFurther)
	}
	x.count++
	return func(uc *net.UnixConn) {
		c := execctl.NewConn(uc)
		if failed := s.runFurther(c, pid); failed != nil {
			tellFurther(c, &execctl.Message{Failed: failed})
		}
		c.Close()
		x.mu.Lock()
		x.count--
		x.mu.Unlock()
	}, nil
}

// takes says why no command can be started now.
func (s *session) takes() error {
	if s.monitor.isFrozen() {
		return errors.New("the session is frozen: penstock resume lets it go on")
	}
	s.further.mu.Lock()
	defer s.further.mu.Unlock()
	if !s.further.open {
		return errors.New("the session is starting or ending")
	}
	return nil
}

// enter gives a command its number. The session's last record waits for what becomes
// of it, until leave.
func (x *further) enter() (number uint64, leave func(), ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.open {
		return 0, nil, false
	}
	x.last++
	x.work.Add(1)
	return x.last, x.work.Done, true
}

// runFurther runs one command to its end and says so, or returns why it can't.
func (s *session) runFurther(c *execctl.Conn, pid int) *execctl.Failed {
	c.SetDeadline(time.Now().Add(askTime))
	asked, files, err := c.RecvStart()
	if err != nil {
		return &execctl.Failed{Text: err.Error(), Code: 125}
	}
	defer packet.CloseAll(files[:])
	start, err := asked.Complete(s.spec.Env, s.files.Dir, s.keeps)
	if err == nil {
		err = execctl.Check(files, start.Terminal)
	}
	if err == nil {
		err = s.takes()
	}
	if err != nil {
		return &execctl.Failed{Text: err.Error(), Code: 125}
	}
	number, leave, ok := s.further.enter()
	if !ok {
		return &execctl.Failed{Text: "the session is ending", Code: 125}
	}
	defer leave()
	ev := &audit.Exec{Action: "start", Exec: number, Argv: clipArgv(start.Argv, 32<<10), Dir: start.Dir, By: pid}
	var denied *proxyctl.DeniedError
	if err := s.recordExec(ev); errors.As(err, &denied) {
		return s.notRun(number, &execctl.Failed{Text: "the command may not start: " + denied.Reason, Hint: denied.Hint(), Code: 125})
	} else if err != nil {
		return &execctl.Failed{Text: err.Error(), Code: 125}
	}
	began := time.Now()
	pen, err := s.startFurther(start, files)
	var not *shim.ExecError
	if errors.As(err, &not) {
		return s.notRun(number, &execctl.Failed{Text: not.Error(), Code: not.ExitCode()})
	} else if err != nil {
		return s.notRun(number, &execctl.Failed{Text: err.Error(), Code: 125})
	}
	defer pen.Close()
	packet.CloseAll(files[:]) // they are the pen's: a pipe ends when the command has closed it
	c.SetDeadline(time.Time{})
	// Who asked may say nothing but signals; the end of it is the command's.
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			m, err := c.Recv()
			if err != nil || m.Signal == 0 {
				pen.Signal(int(unix.SIGKILL))
				return
			}
			pen.Signal(m.Signal)
		}
	}()
	defer func() { c.Close(); <-heard }()
	for {
		m, err := pen.Next()
		if err == nil && m.Ended != nil && m.Ended.Code == killed && s.isOver() {
			err = io.EOF
		}
		switch {
		case err != nil:
			failed := &execctl.Failed{Text: "the session has ended, and the command with it", Code: killed}
			if !errors.Is(err, io.EOF) {
				failed.Text = "how the command ended is not known: " + err.Error()
			}
			tellFurther(c, &execctl.Message{Failed: s.notRun(number, failed)})
			return nil
		case m.Failed != nil:
			tellFurther(c, &execctl.Message{Failed: s.notRun(number, m.Failed)})
			return nil
		case m.Ended != nil:
			// Recorded before it is told.
			if err := s.recordExec(&audit.Exec{Action: "end", Exec: number, ExitCode: m.Ended.Code, Duration: time.Since(began)}); err != nil {
				s.say.line("%v", err)
			}
			tellFurther(c, &execctl.Message{Ended: m.Ended})
			return nil
		case m.Started:
			tellFurther(c, m)
		}
	}
}

// isOver says whether the session has ended, as it will have at once when its end was
// what killed a command.
func (s *session) isOver() bool {
	select {
	case <-s.pen.Done():
		return true
	case <-time.After(overTime):
		return false
	}
}

// tellFurther tells who asked, if that one still listens.
func tellFurther(c *execctl.Conn, m *execctl.Message) {
	c.SetDeadline(time.Now().Add(sayTime))
	c.Send(m) //nolint:errcheck // then nobody waits
	if m.Started {
		c.SetDeadline(time.Time{})
	}
}

// notRun records that a command was not run, or not to a known end.
func (s *session) notRun(number uint64, why *execctl.Failed) *execctl.Failed {
	if err := s.recordExec(&audit.Exec{Action: "failed", Exec: number, Reason: why.Text}); err != nil {
		s.say.line("%v", err)
	}
	return why
}

func (s *session) recordExec(ev *audit.Exec) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return s.proxy.client.Record(ctx, audit.TypeExec, ev)
}

// conversation is about one command, with who has started it in the pen.
type conversation interface {
	Signal(signo int)
	// Next waits for what is said next; io.EOF is that nobody says anything any more.
	Next() (*execctl.Message, error)
	Close() error
}

// launched is one with the tier's own program.
type launched struct{ *execctl.Conn }

func (l launched) Next() (*execctl.Message, error) { return l.Recv() }

func (l launched) Signal(signo int) {
	l.Send(&execctl.Message{Signal: signo}) //nolint:errcheck // it has ended
}

// startFurther starts a command in the pen.
func (s *session) startFurther(start *execctl.Start, files [3]*os.File) (conversation, error) {
	if s.further.line == nil {
		return s.enterPen(start, files)
	}
	c, theirs, err := execctl.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// It may be stopped, or in a tool's hands.
	s.further.line.SetWriteDeadline(time.Now().Add(sayTime))
	c.SetDeadline(time.Now().Add(sayTime))
	if err = s.further.line.Send([]byte{1}, theirs); err == nil {
		err = c.Send(&execctl.Message{Start: start}, files[:]...)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start the command in the pen: %w", err)
	}
	c.SetDeadline(time.Time{})
	return launched{c}, nil
}

// keeps says why a variable stays as the session has it, "" if it may be set.
func (s *session) keeps(name string) string {
	switch {
	case slices.ContainsFunc(s.secrets.Environ(), func(e string) bool { return strings.HasPrefix(e, name+"=") }):
		return "it is a secret of the policy, of which the pen has a placeholder"
	case holdsKey(s.cfg.Policy, name):
		return "the policy names it for a credential that no pen gets"
	case name == config.ApprovalsVariable, name == "PENSTOCK":
		return "it is Penstock's own"
	}
	return ""
}
