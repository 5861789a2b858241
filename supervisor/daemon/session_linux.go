package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// session is one connection's, from open to its end. Its steps are one
// goroutine's; others only cancel it or read what is marked so.
type session struct {
	c        *connection
	id       string          // read by others
	open     *daemonctl.Open // read by others
	begun    time.Time       // read by others
	proxy    *proxy          // read by others
	group    *cgroup.Group   // read by others; nil without control groups
	step     daemonctl.Op    // the last one that was done
	undo     []func()        // reversals, the last one first
	sockets  *net.UnixConn   // to the proxy, carries the pen's sockets once
	limits   *limits         // nil until the pen is verified, or without control groups
	watched  *watched        // nil without eBPF
	keeper   *keeper         //
	floor    bool            // there is an administrator's policy
	record   *audit.Session  //
	builder  *process        //
	facts    *builderFacts   //
	names    []string        // of pen
	pen      []*os.File      // sockets, closed with the connection
	finished chan struct{}   // closed when nothing of it is left

	mu     sync.Mutex
	reason string // why it is ended, "" if the caller ends it
	over   bool   // it can't be cancelled any more
	// removed: the group is not there any more.
	removed bool
}

// cancel ends the session from outside: whatever its goroutine waits for from
// the caller is over. It may be called at any time, from anywhere.
func (s *session) cancel(reason string) { s.stop(reason, false) }

// fail is cancel for what nobody has asked for.
func (s *session) fail(reason string) { s.stop(reason, true) }

func (s *session) stop(reason string, failed bool) {
	s.mu.Lock()
	first := s.reason == "" && !s.over
	if first {
		s.reason = reason
	}
	s.mu.Unlock()
	if first {
		s.c.answer(&daemonctl.Message{Op: daemonctl.OpEnding, Text: oneLine(reason), Failed: failed}) //nolint:errcheck // the connection ends anyway
		s.c.conn.Raw().CloseRead()                                                                    //nolint:errcheck // likewise
	}
}

func (s *session) why() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// session runs a session. Everything that it makes is gone when it returns.
func (c *connection) session(o *daemonctl.Open) (err error) {
	s := &session{c: c, open: o, begun: time.Now(), finished: make(chan struct{})}
	s.keeper = newKeeper(s)
	defer close(s.finished)
	graceful := false
	defer func() {
		reason := s.why()
		switch {
		case reason != "" || graceful:
		case err != nil && !errors.Is(err, io.EOF):
			reason = oneLine(err.Error())
		default:
			reason = "the caller is gone"
		}
		s.mu.Lock()
		s.reason, s.over = reason, true
		s.mu.Unlock()
		if err != nil && !graceful {
			// Undoing takes its time; what was wrong is known now.
			c.refuse(err)
			err = io.EOF
		}
		s.end()
		if graceful && err == nil {
			err = c.answer(&daemonctl.Message{Op: daemonctl.OpEnded})
		}
	}()
	if err := s.begin(); err != nil {
		return err
	}
	// From here on it can be cancelled.
	c.conn.SetReadDeadline(s.begun.Add(c.d.cfg.Settings.SetupTime)) //nolint:errcheck // then it fails
	var asides rate
	for {
		m, files, err := c.conn.Recv()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &refusal{"the pen was not built in time", "raise setup_time in the supervisor's settings"}
		}
		if err != nil {
			return err
		}
		c.junk = append(c.junk, files...)
		if isAside(m.Op) && !asides.spend(time.Now(), asidesRate) {
			return &refusal{"too many messages of this session in a short time", ""}
		}
		if answer := s.aside(m, files); answer != nil {
			if err := c.answer(answer); err != nil {
				return err
			}
			continue
		}
		if m.Op == daemonctl.OpEnd && len(files) == 0 {
			graceful = true
			return nil
		}
		answer, err := s.take(m, files)
		if err != nil {
			return err
		}
		if err := c.answer(&daemonctl.Message{Op: answer}); err != nil {
			return err
		}
		s.step = m.Op
		if s.step == daemonctl.OpVerify {
			c.d.pool.nudge()
			s.watchLimits()
			s.keep()
			c.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // then it ends early
		}
	}
}

// asidesRate is how many messages beside its steps a session may send in a second;
// penstock run sends ten.
const asidesRate = 20

func isAside(op daemonctl.Op) bool {
	return op == daemonctl.OpFlush || op == daemonctl.OpFreeze || op == daemonctl.OpAlive
}

// aside does what is no step, and returns the answer; nil if m is a step, or is
// out of turn.
func (s *session) aside(m *daemonctl.Message, files []*os.File) *daemonctl.Message {
	switch {
	case len(files) > 0:
	case m.Op == daemonctl.OpFlush:
		if s.limits != nil {
			s.limits.flush()
		}
		return &daemonctl.Message{Op: daemonctl.OpFlushed}
	case m.Op == daemonctl.OpFreeze && s.step == daemonctl.OpVerify:
		answer := &daemonctl.Message{Op: daemonctl.OpFrozen}
		if err := s.keeper.freeze(m.On); err != nil {
			answer.Text = oneLine(err.Error())
		}
		return answer
	case m.Op == daemonctl.OpAlive && s.step == daemonctl.OpVerify:
		s.keeper.alive()
		return &daemonctl.Message{Op: daemonctl.OpNoted}
	}
	return nil
}

// take does one step, if it is in turn.
func (s *session) take(m *daemonctl.Message, files []*os.File) (daemonctl.Op, error) {
	switch {
	case m.Op == daemonctl.OpJoin && s.step == daemonctl.OpOpen && len(files) == 1:
		return daemonctl.OpJoined, s.join(files[0])
	case m.Op == daemonctl.OpNetwork && s.step == daemonctl.OpJoin && len(files) == len(m.Sockets)+1:
		return daemonctl.OpNetworked, s.network(m.Sockets, files)
	case m.Op == daemonctl.OpVerify && s.step == daemonctl.OpNetwork && len(files) == 1:
		return daemonctl.OpVerified, s.verify(files[0])
	}
	return "", &refusal{string(m.Op) + " is out of turn, or has not the descriptors that it should have", ""}
}

func (s *session) push(f func()) { s.undo = append(s.undo, f) }

// begin makes what a session has before it has a pen, and says so.
func (s *session) begin() error {
	d, uid := s.c.d, s.c.peer.uid
	if r := d.accounts.begin(uid, s.begun); r != nil {
		return r
	}
	s.push(func() { d.accounts.end(uid, time.Now()) })
	most := d.cfg.Settings.Quota.AuditBytes
	if uid == 0 {
		most = 0
	}
	floor, err := readFloor(d.cfg.Policy)
	if err != nil {
		return fmt.Errorf("read the administrator's policy: %w", err)
	}
	st, err := d.state.of(uid)
	if err != nil {
		return err
	}
	if s.record, err = st.create(most); err != nil {
		return err
	}
	s.push(func() { s.record.File.Close() })
	s.id = s.record.ID
	readable, err := st.OpenSession(s.id)
	if err != nil {
		return err
	}
	defer readable.Close()

	opened := &daemonctl.Opened{Session: s.id, Steering: d.steering(), Floor: floor.digest, AuditDir: filepath.Dir(s.record.Path), Capabilities: d.capabilities(false)}
	if err := s.makeGroup(opened); err != nil {
		return err
	}
	s.push(s.keeper.letGo)
	if s.proxy, err = d.pool.take(); err != nil {
		return err
	}
	// The next one is started when this session needs the processors no more.
	s.push(d.pool.nudge)
	s.push(s.endProxy)
	s.proxy.again()
	s.floor = floor.name != ""
	control, err := s.assign(floor)
	if err != nil {
		return err
	}
	defer control.Close()
	opened.Attributed = s.watched != nil
	opened.Freezer = s.group != nil && s.group.Freezes()
	if err := d.enter(s); err != nil {
		return err
	}
	s.push(func() { d.leave(s) })
	if raw, err := s.c.conn.Raw().SyscallConn(); err == nil {
		takeRights(raw, true)
	}
	if err := s.c.answer(&daemonctl.Message{Op: daemonctl.OpOpened, Opened: opened}, control, readable); err != nil {
		return err
	}
	s.step = daemonctl.OpOpen
	return nil
}

// end undoes everything, the pen first: what is done to it after its record is
// closed would not be in it.
func (s *session) end() {
	if s.builder != nil {
		// Where there is no group, this is all there is; the rest of the pen dies
		// of its first process's death.
		s.builder.kill()
	}
	s.killGroup()
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

// endProxy has the last record written, by the proxy, and enters it in the
// ledger. A proxy without a last word leaves the session unsealed, which
// penstock audit verify says; one that never had a session to write about leaves
// an empty file, sealed as that.
func (s *session) endProxy() {
	last := s.proxy.finish(s.why())
	var err error
	if last != nil && last.Seq > 0 {
		var head [32]byte
		if head, err = last.Hash(); err == nil {
			err = s.record.SealUnread(last.Seq, head)
		}
	} else if fi, serr := s.record.File.Stat(); serr == nil && fi.Size() == 0 && s.step != daemonctl.OpVerify {
		err = s.record.SealEmpty()
	}
	if err != nil {
		s.c.d.cfg.Log("session %s: %v", s.id, err)
	}
}

// enter makes a session known to others, unless the daemon is ending.
func (d *Daemon) enter(s *session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending != "" {
		return &refusal{d.ending, "try again in a moment"}
	}
	d.sessions[s.id] = s
	return nil
}

func (d *Daemon) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s.id)
}

// claim makes a network namespace this session's. The inode number is not
// another's while the session holds a descriptor of it.
func (d *Daemon) claim(id uint64, s *session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.networks[id] != nil {
		return errors.New("the namespace is another session's")
	}
	d.networks[id] = s
	return nil
}

func (d *Daemon) unclaim(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks, id)
}
