package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// Config of a daemon.
type Config struct {
	State      string // directory, root's alone
	Policy     string // the administrator's policy; it need not exist
	Settings   *settings.Settings
	Groups     *cgroup.Tree   // nil: this machine gives no control groups; swept before, and closed, by the caller
	Programs   *ebpf.Programs // nil: this machine refuses eBPF; closed by the caller
	NoPrograms string         // why Programs is nil
	Version    string
	Log        func(format string, args ...any) // for the administrator; nil: nobody

	state   *state        // State, if it is open and locked already
	program string        // of the proxies; "" is this one
	late    time.Duration // see lateness; 0 is that
}

// Daemon is the service.
type Daemon struct {
	cfg      Config
	state    *state
	accounts *accounts
	pool     *pool
	host     map[string]uint64 // the daemon's own namespaces

	conns sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*session
	networks map[uint64]*session // by the inode of the pen's network namespace
	ending   string              // why no new session begins
}

// New locks the state directory and starts the first proxies. Groups and Programs
// have been swept by whoever made them.
func New(cfg Config) (*Daemon, error) {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.late == 0 {
		cfg.late = lateness
	}
	d := &Daemon{
		cfg: cfg, accounts: newAccounts(cfg.Settings),
		sessions: map[string]*session{}, networks: map[uint64]*session{}, host: map[string]uint64{},
	}
	for _, name := range []string{"user", "net", "pid", "mnt", "ipc", "uts"} {
		id, err := ownNamespace(name)
		if err != nil {
			return nil, fmt.Errorf("read the own namespaces: %w", err)
		}
		d.host[name] = id
	}
	if d.state = cfg.state; d.state == nil {
		var err error
		if d.state, err = openState(cfg.State); err != nil {
			return nil, err
		}
	}
	d.pool = newPool(&cfg)
	return d, nil
}

// firstMessage bounds how long a connection may say nothing before it has a
// session, and answerTime how long a caller may take to have room for an answer.
const (
	firstMessage = 10 * time.Second
	answerTime   = 5 * time.Second
)

// Serve answers callers until ctx ends; then it ends all sessions and returns
// nil when nothing of them is left. It closes l, a seqpacket listener.
func (d *Daemon) Serve(ctx context.Context, l *net.UnixListener) error {
	if raw, err := l.SyscallConn(); err == nil {
		takeRights(raw, false)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var failed error
	for {
		uc, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ECONNABORTED) {
				d.cfg.Log("accept: %v", err)
				time.Sleep(10 * time.Millisecond)
				continue
			}
			failed = fmt.Errorf("accept: %w", err)
			break
		}
		d.receive(uc)
	}
	l.Close()
	d.close("the supervisor is stopping")
	return failed
}

// receive decides, before anything else is done for it, whether a connection is
// served.
func (d *Daemon) receive(uc *net.UnixConn) {
	who, err := credentials(uc)
	if err != nil {
		uc.Close()
		return
	}
	c := &connection{d: d, conn: daemonctl.NewConn(uc), peer: who}
	if r := d.accounts.connect(who.uid, time.Now()); r != nil {
		d.turnAway(c, r)
		return
	}
	c.conn.OnDiscard(func(files []*os.File) { c.junk = append(c.junk, files...) })
	d.conns.Go(c.serve)
}

// turnAway tells who may have no connection now why, and hangs up.
func (d *Daemon) turnAway(c *connection, r *refusal) {
	away := func() {
		c.answer(r.message()) //nolint:errcheck // a new socket has room for it
		hangUp(c.conn.Raw())
	}
	if !d.accounts.leaving(c.peer.uid, 1) {
		away()
		return
	}
	d.conns.Go(func() {
		away()
		d.accounts.leaving(c.peer.uid, -1)
	})
}

// stopTime bounds what callers can do about the daemon's end.
const stopTime = 5 * time.Second

// close ends every session and then the proxies.
func (d *Daemon) close(reason string) {
	d.mu.Lock()
	d.ending = reason
	all := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		all = append(all, s)
	}
	d.mu.Unlock()
	for _, s := range all {
		s.fail(reason)
	}
	for _, s := range all {
		<-s.finished
	}
	// What is left is waiting for a caller's descriptors to be closed, or for a
	// session that had not been entered yet.
	waited := make(chan struct{})
	go func() { d.conns.Wait(); close(waited) }()
	select {
	case <-waited:
	case <-time.After(stopTime):
		d.cfg.Log("some callers' descriptors can't be closed")
	}
	d.pool.close()
	d.state.close()
}

// connection is one caller's. All of it but cancel is one goroutine's.
type connection struct {
	d    *Daemon
	conn *daemonctl.Conn
	peer peer
	// junk are descriptors that the caller has sent, to be closed when nobody
	// waits for anything of this connection: closing them may block for as long
	// as he likes (packet.Conn.OnDiscard).
	junk []*os.File
}

// serve is a connection's life.
func (c *connection) serve() {
	if err := c.converse(); err != nil {
		c.refuse(err)
	}
	hangUp(c.conn.Raw())
	if c.peer.proc != nil {
		c.peer.proc.close()
	}
	daemonctl.CloseAll(c.junk)
	c.d.accounts.disconnect(c.peer.uid, time.Now())
}

// refuse tells the caller what was wrong. The connection is over then.
func (c *connection) refuse(err error) {
	if errors.Is(err, io.EOF) {
		return
	}
	r := refusal{text: oneLine(err.Error())}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		r.hint = oneLine(h.Hint())
	}
	c.answer(r.message()) //nolint:errcheck // it may be gone
}

func (c *connection) answer(m *daemonctl.Message, files ...*os.File) error {
	c.conn.SetWriteDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then it fails
	return c.conn.Send(m, files...)
}

// converse answers until the caller is gone or has broken the rules.
func (c *connection) converse() error {
	var err error
	if c.peer.proc, err = peerProcess(c.conn.Raw(), c.peer); err != nil {
		return &refusal{"the caller can't be examined: " + oneLine(err.Error()), "call from a process that lives on"}
	}
	if r := c.peer.check(c.d.host["user"], c.d.cfg.Groups); r != nil {
		return r
	}
	for first := true; ; first = false {
		c.conn.SetReadDeadline(time.Now().Add(firstMessage)) //nolint:errcheck // then it fails
		m, files, err := c.conn.Recv()
		if err != nil {
			return err
		}
		c.junk = append(c.junk, files...)
		if !first {
			if r := c.d.accounts.request(c.peer.uid, time.Now()); r != nil {
				return r
			}
		}
		switch {
		case len(files) > 0 || !m.Op.FromCaller():
			return &refusal{string(m.Op) + " is out of turn, or has descriptors that it should not have", ""}
		case m.Version != daemonctl.Version:
			return &refusal{fmt.Sprintf("the caller speaks version %d, the supervisor %d", m.Version, daemonctl.Version), "install the same version of penstock for both, and restart the supervisor"}
		case m.Op == daemonctl.OpOpen:
			return c.session(m.Open)
		}
		if err := c.ask(m); err != nil {
			return err
		}
	}
}

func (d *Daemon) steering() daemonctl.Steering {
	if d.cfg.Programs == nil {
		return daemonctl.SteeringRules
	}
	return daemonctl.SteeringBPF
}
