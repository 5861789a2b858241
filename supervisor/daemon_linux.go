package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// daemon is the privileged supervisor's part of a session: control group, eBPF,
// proxy and audit. This process builds the pen with the caller's rights, as
// without it, and passes descriptors of what it built. The conversation's end is
// the session's.
type daemon struct {
	client  *daemonctl.Client
	opened  *daemonctl.Opened
	control *os.File // to the session's proxy, until it is configured
	failed  error    // set by end: it was over before, because the daemon could not go on
	heard   bool     // why it was over, by the user
}

// connectDaemon uses the privileged supervisor where there is one, or where it is
// asked for.
func (s *session) connectDaemon(ctx context.Context) error {
	if s.cfg.Rootless {
		return nil
	}
	path := s.cfg.Socket
	if path == "" {
		path = daemonctl.Path
	}
	client, err := daemonctl.Dial(ctx, path)
	switch {
	case err == nil:
	case s.cfg.Supervised:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		// It is there for others, or was: not to use it must be visible.
		s.cfg.Hints = append(s.cfg.Hints, fmt.Sprintf("this pen is not supervised: %v", err))
		return nil
	}
	if s.bare() {
		client.Close()
		return bareError{errSupervisedBare}
	}
	if s.cfg.AuditDir != "" {
		client.Close()
		return &auditDirError{s.cfg.AuditDir}
	}
	if rules := s.cfg.Policy.Captures(); len(rules) > 0 {
		client.Close()
		return &captureError{rules[0].Ref()}
	}
	s.daemon = &daemon{client: client}
	s.undo.push(func() { client.Close() })
	return nil
}

type auditDirError struct{ dir string }

func (e *auditDirError) Error() string {
	return fmt.Sprintf("--audit-dir %s: the privileged supervisor keeps the audit where nobody else can change it", e.dir)
}

// Hint says what to type instead.
func (e *auditDirError) Hint() string { return "leave it out, or use --rootless" }

type captureError struct{ rule string }

func (e *captureError) Error() string {
	return e.rule + ": capture: the privileged supervisor keeps no bodies: a session's audit can be read by others there"
}

// Hint says what to type instead.
func (e *captureError) Hint() string { return "take capture out of the rule, or use --rootless" }

// supervisor says which kind of session it is.
func (s *session) supervisor() string {
	if s.daemon != nil {
		return "supervised"
	}
	return "rootless"
}

// open begins the session at the daemon, which gives it its id, limits and proxy.
func (s *session) open(ctx context.Context, l sandbox.Limits) error {
	o := &daemonctl.Open{
		Command: clipArgv(s.cfg.Command, 8<<10), Workdir: clipText(s.cfg.Workdir, 4<<10), Tier: s.backend.Name(), Mode: string(s.cfg.Mode),
		Limits: l, Publish: len(s.cfg.Publish) > 0,
	}
	opened, control, audit, err := s.daemon.client.Open(ctx, o)
	if err != nil {
		return err
	}
	audit.Close() // penstock audit opens it again
	s.daemon.opened, s.daemon.control = opened, control
	s.undo.push(func() { control.Close() })
	s.id, s.caps = opened.Session, opened.Capabilities
	for _, r := range opened.Rlimits {
		s.rlimits = append(s.rlimits, shim.Rlimit{Resource: r.Resource, Value: r.Value})
	}
	return nil
}

func clipText(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// join puts the pen's first process into the session's group, beside everything
// else that goes on. The channel gets one value.
func (s *session) join(ctx context.Context, before error) <-chan error {
	done := make(chan error, 1)
	if s.daemon == nil || before != nil {
		done <- nil
		return done
	}
	go func() {
		f, err := pidfdOf(s.pen.Process().Pid)
		if err == nil {
			err = s.daemon.client.Join(ctx, f)
			f.Close()
		}
		done <- err
	}()
	return done
}

func pidfdOf(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pen's first process: %w", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// proxy configures the session's proxy.
func (d *daemon) proxy(ctx context.Context, cfg *proxyctl.Config, files map[string]*os.File, notice func(string)) (*proxyProcess, error) {
	uc, err := proxyctl.Open(d.control)
	if err != nil {
		return nil, err
	}
	p := &proxyProcess{client: proxyctl.NewClient(proxyctl.NewConn(uc), notice)}
	if err := p.client.Configure(ctx, cfg, files); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// network hands the pen's sockets over. pid is a process in the pen's network.
func (d *daemon) network(ctx context.Context, sockets *netns.Sockets, pid int) error {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return fmt.Errorf("open the pen's network namespace: %w", err)
	}
	defer f.Close()
	return d.client.Network(ctx, sockets.Files(), f)
}

// verify has the daemon look at the held shim.
func (d *daemon) verify(ctx context.Context, tool *process) error {
	fd, err := unix.FcntlInt(uintptr(tool.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the pen's first process: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	return d.client.Verify(ctx, f)
}

// gone is closed when the daemon has ended the session; nil, which never is,
// without one.
func (d *daemon) gone() <-chan struct{} {
	if d == nil {
		return nil
	}
	return d.client.Done()
}

// ending waits, in a supervised session whose proxy has ended, for the daemon's
// word: it says before it ends a proxy that it does.
func (d *daemon) ending() bool {
	if d == nil {
		return false
	}
	select {
	case <-d.client.Done():
	case <-time.After(time.Second):
	}
	return d.client.Ending() != ""
}

// running tells whether the daemon still speaks to this session.
func (d *daemon) running() bool {
	select {
	case <-d.client.Done():
		return false
	default:
		return true
	}
}

// freezes tells whether the daemon can stop the pen.
func (d *daemon) freezes() bool { return d != nil && d.opened.Freezer }

// freeze stops the pen, or lets it go on.
func (d *daemon) freeze(on bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := d.client.Freeze(ctx, on)
	if errors.Is(err, net.ErrClosed) || err != nil && !d.running() {
		return errEnding
	}
	return err
}

var errEnding = errors.New("the session is ending")

// alive tells the daemon what only this process sees: the terminal was used.
func (d *daemon) alive() {
	if d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	d.client.Alive(ctx) //nolint:errcheck // then the session is over
}

// flush has what the daemon knows of the pen recorded.
func (d *daemon) flush(ctx context.Context) error { return d.client.Flush(ctx) }

// overseer is the daemon, if the session has one.
func (s *session) overseer() overseer {
	if s.daemon == nil {
		return nil
	}
	return s.daemon
}

// end tells the daemon how the session ended and waits until nothing of it is
// left.
func (d *daemon) end(s *session, exit int) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	over := func() bool {
		if d.running() {
			return false
		}
		if d.client.Failed() {
			d.failed = d.client.Why()
		}
		return true // it has put everything away, or is gone
	}
	if over() {
		return
	}
	d.control.Close() // a proxy that was not configured waits for that, or for this end
	err := d.client.End(ctx, &daemonctl.End{ExitCode: exit, Reason: clipText(oneLine(s.reason), 1<<10)})
	if err != nil && !(over() && d.failed != nil) { // then finish says it
		s.say.line("%v", err)
	}
	d.client.Close()
}

// oneLine makes a reason fit for a message.
func oneLine(s string) string { return escape(s) }
