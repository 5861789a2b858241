package proxyrole

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/executable"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// supervised is what the role knows and obeys beside its caller when the
// privileged supervisor has started it. The caller is not trusted then: the
// daemon says whose session it is, under which floor, and when the pen is
// verified; nothing of the caller's can take the place of it.
type supervised struct {
	boss   *bossctl.Conn
	assign *bossctl.Assign
	mounts executable.Mounts // as they were before the role confined itself

	watcher     *events.Watcher // nil without eBPF
	admitted    chan struct{}   // closed when admit is there
	frozen      chan struct{}   // the daemon has stopped the pen, as act asked for
	admit       *bossctl.Admit
	gone        chan struct{} // closed when the daemon is gone
	closing     sync.Once
	onViolation string          // what the joint policy says
	shown       map[string]bool // kinds of limits that the user has heard of
}

var _ boss = (*supervised)(nil)

func (s *supervised) events() *events.Watcher { return s.watcher }

// serveSupervised waits for a session and serves it. The role is confined before
// it hears of anybody.
func serveSupervised(f *os.File) error {
	// The daemon bounds the record's size (RLIMIT_FSIZE): a record that does not
	// fit is an error, after which everything is denied, and not the end.
	signal.Ignore(syscall.SIGXFSZ)
	boss, err := bossctl.Open(f)
	if err != nil {
		return err
	}
	mounts := executable.ReadMounts()
	if err := confineSelf(); err != nil {
		return err
	}
	if err := boss.Send(&bossctl.Message{Op: bossctl.OpReady}); err != nil {
		return err
	}
	m, files, err := boss.Recv()
	if errors.Is(err, io.EOF) {
		return nil // the daemon ended, or has no use for it
	}
	if err != nil {
		return err
	}
	if m.Op != bossctl.OpAssign {
		return fmt.Errorf("daemon sent %s before a session", m.Op)
	}
	s := &supervised{boss: boss, mounts: mounts, assign: m.Assign, admitted: make(chan struct{}), frozen: make(chan struct{}, 1), gone: make(chan struct{}), shown: map[string]bool{}}
	control, err := proxyctl.Open(files[bossctl.AssignControl])
	if err != nil {
		return err
	}
	conn := proxyctl.NewConn(control)
	e, err := s.configure(control, files, conn)
	if err != nil {
		said := err.Error()
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			said += " (" + h.Hint() + ")" // it travels as text
		}
		conn.Send(&proxyctl.Message{Op: proxyctl.OpConfigured, Error: clip(said)}) //nolint:errcheck // the caller may be gone
		return err
	}
	defer e.close()
	if err := conn.Send(&proxyctl.Message{Op: proxyctl.OpConfigured}); err != nil {
		return err
	}
	go s.obey(e, conn)
	go s.count(e)
	err = e.converse(conn)
	if !e.ended() {
		// The caller is gone without a word. The daemon sees that too, kills the
		// pen and says why.
		<-s.gone
	}
	return err
}

// configure takes the caller's configuration and puts it under the daemon's.
func (s *supervised) configure(control *net.UnixConn, files []*os.File, conn *proxyctl.Conn) (*engine, error) {
	var cfg proxyctl.Config
	given, err := donate.Accept(control, &cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Policy == nil {
		return nil, errors.New("configure the proxy: no policy")
	}
	cfg.Session = s.assign.Session
	floor, err := s.underFloor(&cfg)
	if err != nil {
		return nil, err
	}
	for _, p := range cfg.Publish {
		if given[p.Name] == nil {
			return nil, fmt.Errorf("configure the proxy: no listener %.40q", p.Name)
		}
	}
	for _, name := range []string{proxyctl.FileCACert, proxyctl.FileCAKey} {
		if given[name] == nil {
			return nil, fmt.Errorf("configure the proxy: no descriptor %q", name)
		}
	}
	delete(given, proxyctl.FileCapture) // nothing here writes to a caller's file
	given[proxyctl.FileSockets] = files[bossctl.AssignSockets]
	given[proxyctl.FileAudit] = files[bossctl.AssignAudit]
	e, err := newEngine(&cfg, given, conn)
	if err != nil {
		return nil, err
	}
	e.boss = s
	if s.assign.Events {
		err = s.watch(e, files[bossctl.AssignEvents])
	}
	if err == nil {
		s.attribute(e, floor)
		err = s.files(floor)
	}
	if err == nil {
		s.onViolation = cfg.Policy.Sandbox().OnViolation.V
		err = s.guard(cfg.Policy)
	}
	if err == nil { // now the kernel lets it
		err = e.proxy.GetPACs(context.Background())
	}
	if err == nil && s.watcher != nil { // else nobody would hear of what is refused
		err = s.deny(cfg.Policy.Denied(bossctl.MaxDenied, e.names.Ranges()...))
	}
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// guard asks for the addresses beside public ones that the policy names. It is
// asked before anything of the pen can have been read.
func (s *supervised) guard(p *policy.Policy) error {
	var reach []bossctl.Reach
	for _, r := range p.Reach() {
		reach = append(reach, bossctl.Reach{Prefix: r.Prefix, From: r.From, To: r.To})
	}
	if len(reach) == 0 {
		return nil
	}
	if len(reach) > bossctl.MaxReach {
		return fmt.Errorf("the policy names %d ranges of addresses beside public ones, more than %d", len(reach), bossctl.MaxReach)
	}
	return s.ask(&bossctl.Message{Op: bossctl.OpGuard, Reach: reach}, bossctl.OpGuarded)
}

// deny asks the kernel to refuse connections to what the floor denies as addresses,
// and for nothing else: an early refusal of what the policy would refuse in any case.
// It does not see names, whose addresses are synthetic.
func (s *supervised) deny(denied []netip.Prefix) error {
	if len(denied) == 0 {
		return nil
	}
	return s.ask(&bossctl.Message{Op: bossctl.OpDeny, Denied: denied}, bossctl.OpDenied)
}

// ask has the daemon do something that is only to be had before the pen is.
func (s *supervised) ask(m *bossctl.Message, want bossctl.Op) error {
	if err := s.boss.Send(m); err != nil {
		return err
	}
	answer, _, err := s.boss.Recv()
	switch {
	case err != nil:
		return err
	case answer.Op != want:
		return fmt.Errorf("daemon answered %s with %s", m.Op, answer.Op)
	case answer.Text != "":
		return errors.New(answer.Text)
	}
	return nil
}

// files says what the floor has to say of files, which the daemon looks at. It
// waits for that before it verifies a pen.
func (s *supervised) files(floor *policy.File) error {
	if floor == nil {
		return nil
	}
	places := func(list []policy.PathGrant) (out []bossctl.Place) {
		for _, g := range list {
			out = append(out, bossctl.Place{Path: g.Given, From: g.From.Ref()})
		}
		return out
	}
	f := &bossctl.Files{Hide: places(floor.Hidden())}
	if w := floor.Limits().Write; w.Set {
		f.Write, f.Bound = places(w.V), w.From.Ref()
	}
	return s.boss.Send(&bossctl.Message{Op: bossctl.OpFiles, Files: f})
}

// act has the daemon do what the policy says about a violation, and tells what
// that is, "" for nothing. A pen that is to be frozen has stopped when it returns:
// who is told of it may let it go on.
func (s *supervised) act(e *engine, kind string) string {
	if s.onViolation != policy.Freeze && s.onViolation != policy.Kill {
		return ""
	}
	// Recorded first: nothing of the session may be there afterwards.
	if err := e.writer.Append(&audit.Control{Action: s.onViolation, Reason: "violation: " + kind}); err != nil {
		e.notice(err.Error())
	}
	if s.boss.Send(&bossctl.Message{Op: bossctl.OpViolated, Violated: &bossctl.Violated{Kind: clip(kind), Action: bossctl.Action(s.onViolation)}}) != nil {
		return "" // it is gone, and so is the session
	}
	if s.onViolation == policy.Freeze {
		select {
		case <-s.frozen:
		case <-s.gone:
			return ""
		case <-e.over:
			return ""
		}
	}
	return s.onViolation
}

// obey hears the daemon until it is gone, which ends the caller's conversation
// too, and with it the role.
func (s *supervised) obey(e *engine, conn *proxyctl.Conn) {
	defer conn.Close()
	defer close(s.gone)
	for {
		m, _, err := s.boss.Recv()
		if err != nil {
			return
		}
		switch m.Op {
		case bossctl.OpAdmit:
			if s.admit == nil {
				s.admit = m.Admit
				close(s.admitted)
			}
		case bossctl.OpLimits:
			s.recordLimits(e, m.Limits)
			if s.boss.Send(&bossctl.Message{Op: bossctl.OpLimited}) != nil {
				return
			}
		case bossctl.OpFrozen:
			select {
			case s.frozen <- struct{}{}:
			default: // nobody has asked
			}
		case bossctl.OpEnd:
			// Nobody else will: the caller is gone, or its session is not wanted. There
			// is nothing to hear after it: the daemon waits for the role's end.
			e.finish(&audit.SessionEnd{ExitCode: abandonedExit, Reason: m.Text}) //nolint:errcheck // the record stays unclosed
			return
		}
	}
}

// abandonedExit is the exit code in the record of a session whose end nobody
// reported: the one of SIGKILL.
const abandonedExit = 137

// awaitAdmission returns when the daemon has verified the pen. The daemon says so
// before the caller can go on, so it is on its way at most.
func (s *supervised) awaitAdmission() error {
	select {
	case <-s.admitted:
		return nil
	case <-s.gone:
		return errors.New("the daemon is gone")
	case <-time.After(admissionTimeout):
		return errors.New("the pen is not verified")
	}
}

const admissionTimeout = 10 * time.Second

// attest puts the daemon's word in the place of the caller's.
func (s *supervised) attest(ev *audit.SessionStart) {
	ev.UID, ev.User = s.assign.UID, s.assign.User
	ev.Supervisor = &audit.Attested{
		UID: s.admit.UID, GID: s.admit.GID, Cgroup: s.admit.Cgroup, Net: s.admit.Net, UserNS: s.admit.User, PID: s.admit.PID, Start: s.admit.Start,
		FloorHash: s.floorHash(),
	}
}

func (s *supervised) floorHash() string {
	if s.assign.FloorName == "" {
		return ""
	}
	sum := sha256.Sum256(s.assign.FloorText)
	return hex.EncodeToString(sum[:])
}

// closed tells the daemon, once, what the audit's last record is.
func (s *supervised) closed(e *engine) {
	s.closing.Do(func() {
		seq, hash := e.writer.Head()
		st := e.proxy.Stats()
		s.boss.Send(&bossctl.Message{Op: bossctl.OpClosed, Closed: &bossctl.Closed{ //nolint:errcheck // it may be gone
			Seq: seq, Head: hex.EncodeToString(hash[:]), Counts: bossctl.Counts{Flows: st.Allowed + st.Denied, Denied: st.Denied},
		}})
	})
}

// countEvery is how often the daemon hears of new flows, at most.
const countEvery = time.Second

// count tells the daemon how many flows there were, when there are new ones.
func (s *supervised) count(e *engine) {
	t := time.NewTicker(countEvery)
	defer t.Stop()
	var last bossctl.Counts
	for {
		select {
		case <-s.gone:
			return
		case <-t.C:
		}
		if e.ended() {
			return
		}
		st := e.proxy.Stats()
		now := bossctl.Counts{Flows: st.Allowed + st.Denied, Denied: st.Denied}
		if now != last && s.boss.Send(&bossctl.Message{Op: bossctl.OpCounts, Counts: &now}) != nil {
			return
		}
		last = now
	}
}

// ended tells whether the session's last record is written.
func (e *engine) ended() bool {
	e.finishing.Lock()
	defer e.finishing.Unlock()
	return e.finished
}
