package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/sandbox/workcopy"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/janitor"
	"github.com/penstock/penstock/supervisor/questions"
	"github.com/penstock/penstock/supervisor/registry"
	"github.com/penstock/penstock/supervisor/terminal"
)

// machine is what only a session on Linux has.
type machine struct {
	daemon   *daemon         // the privileged supervisor's part; nil: there is none, or it is not used
	shown    []sandbox.Mount // the spec's, as the command sees them
	group    *cgroup.Group   // nil where no limit needs one, or none can be had
	stdioIDs [3]posture.FileID

	hooks *hookHost // nil: no hook is a process
	told  told
	// further are the commands that are started beside it.
	further further
	book    *questions.Book // what a person is asked; nil: nobody is
	net     *netns.Building // the pen, where it has a network of its own
	owner   uint64          // user namespace that all of a bare command is in, see KillWithin
	tool    *process
	// expect is what the tool was compared with, seen what it was.
	expect *posture.Expectation
	seen   *posture.Observation
	// diag and track tell about the pen's connections, until attribute has them.
	diag, track *os.File
	janitor     *janitor.Janitor
	claimed     *layout.Claimed
	monitor     *monitor
	entry       *registry.Entry // nil before the session is listed

	trees *worktree.Store
	repo  *worktree.Repository // nil: the pen has the files themselves, or a copy
	tree  *worktree.Held
	copy  *workcopy.Held // nil: the pen has none, or it is a dry run
}

// Run builds a pen, runs the command in it and returns how that ended. An error
// is Penstock's own failure; a *shim.ExecError says that the command could not
// be executed. Canceling ctx ends the session.
func Run(ctx context.Context, cfg *config.Config, stdio Stdio, backends []sandbox.Backend) (*Result, error) {
	s := &session{cfg: cfg, stdio: stdio, say: &printer{w: stdio.Err, quiet: cfg.Quiet}, started: time.Now()}
	s.monitor = newMonitor(s)
	s.ending = s.further.finish
	res, err := s.run(ctx, backends)
	s.undo.run()
	if s.entry != nil {
		s.entry.Close() // whoever had it end waits for this
	}
	if err == nil && res.Summary != nil {
		s.report(res)
	}
	s.bareEnd()
	if err = s.finishApart(res, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (s *session) run(ctx context.Context, backends []sandbox.Backend) (*Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.choose(ctx, backends); err != nil {
		return nil, err
	}
	if err := s.anonymous(); err != nil {
		return nil, err
	}
	if err := s.unpublished(); err != nil {
		return nil, err
	}
	if err := s.connectDaemon(ctx); err != nil {
		return nil, err
	}
	if err := s.capture(ctx); err != nil {
		return nil, err
	}
	if err := s.findRepository(ctx); err != nil {
		return nil, err
	}
	lists, err := s.planCopy()
	if err != nil {
		return nil, err
	}
	if s.cfg.DryRun {
		return s.dryRun()
	}
	if err := s.makeWorktree(ctx); err != nil {
		return nil, err
	}
	if err := s.makeCopy(ctx, lists); err != nil {
		return nil, err
	}
	signals, err := s.start(ctx)
	if err != nil {
		return nil, s.abandon(err)
	}
	err = s.verify(ctx)
	if err == nil && s.copy != nil {
		err = s.copy.Began(s.id)
	}
	if err != nil {
		return nil, s.abandon(err)
	}
	s.announce()
	// The daemon lists its sessions too, and ends them when asked; what only the
	// session itself knows, whether it is frozen, is here.
	s.entry, err = registry.Register(s.status(), s.monitor.control(func() { cancel(errKilled) }))
	if err != nil {
		return nil, s.abandon(err)
	}
	return s.watch(ctx, signals)
}

// errKilled is why a session ends on penstock kill.
var errKilled = errors.New("ended by penstock kill")

func (s *session) status() registry.Status {
	return registry.Status{Session: s.id, PID: os.Getpid(), UID: os.Getuid(), Started: s.started,
		Tier: s.backend.Name(), Mode: string(s.cfg.Mode), Workdir: s.cfg.Workdir, Command: clipArgv(s.cfg.Command, 8<<10), Supervised: s.daemon != nil}
}

// dryRun plans the session and says what it would be.
func (s *session) dryRun() (*Result, error) {
	if err := s.limits(context.Background()); err != nil {
		return nil, err
	}
	if err := s.planTrust(); err != nil {
		return nil, err
	}
	if err := s.planHooks(); err != nil {
		return nil, err
	}
	if err := s.planPen(); err != nil {
		return nil, err
	}
	s.reportCapabilities(confine.LandlockABI())
	return &Result{}, s.announcement().dryRun(s.stdio.Out, s.cfg.JSON)
}

// start brings up the pen's network, the proxy and the sandbox, side by side
// with their planning, each as soon as what it needs is known. It returns when
// the proxy serves the pen's sockets; the shim is then held or about to be.
func (s *session) start(ctx context.Context) (*signals, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	taken, opened := make(chan *signals, 1), make(chan error, 1)
	go func() {
		if s.sigs == nil {
			s.sigs = newSignals()
		}
		taken <- s.sigs
		opened <- s.openAudit()
	}()
	err := s.startNetwork(ctx)
	joined := s.join(ctx, err)
	// Forking takes as long as planning.
	guarded := make(chan error, 1)
	if err == nil && s.explicit != nil {
		guarded <- nil // what it would end by itself it can't tell, and it has nothing to remove
	} else if err == nil {
		go func() {
			var err error
			s.janitor, err = janitor.Start(s.cfg.Host.Self, s.pen.Process().Pid, s.owner, s.copyLock())
			guarded <- err
		}()
	}
	// From here on there is something that a signal could leave: the terminal in
	// raw mode first.
	sigs := <-taken
	if aerr := <-opened; aerr != nil {
		err = errors.Join(aerr, err)
	} else if s.audit != nil {
		s.undo.push(func() { s.audit.File.Close() })
	}
	if s.pen == nil {
		<-joined
		return nil, err
	}
	if err == nil {
		err = s.term.Started()
	}
	trusted := err
	if trusted == nil {
		trusted = s.openTold()
	}
	if trusted == nil {
		trusted = s.openFurther()
	}
	if trusted == nil {
		trusted = s.planTrust()
	}
	if trusted == nil {
		trusted = s.planHooks()
		s.undo.push(func() { s.hooks.close() })
	}
	forked := make(chan error, 1)
	if trusted == nil {
		go func() { forked <- s.startProxy(ctx) }()
	}
	if err = trusted; err == nil {
		err = s.planPen()
	}
	if jerr := <-guarded; jerr != nil {
		err = errors.Join(jerr, err)
	} else {
		s.undo.push(s.putAway)
	}
	if err == nil {
		err = s.claim()
	}
	// What the pen's first process becomes, and all that it starts, is in the
	// session's control group from its first moment.
	if jerr := <-joined; err == nil {
		err = jerr
	}
	if err == nil {
		err = s.startSandbox()
	}
	if trusted == nil {
		if perr := <-forked; perr == nil {
			s.undo.push(s.proxy.stop)
		} else if err == nil {
			err = perr
		}
	}
	if err != nil {
		return nil, err
	}
	s.told.close()
	s.further.pen.Close() // nil is fine
	return sigs, s.serve(ctx)
}

// startNetwork begins the pen: its first process builds the network, and
// becomes the sandbox later.
func (s *session) startNetwork(ctx context.Context) error {
	if err := s.openTerminal(); err != nil {
		return err
	}
	if err := s.limits(ctx); err != nil {
		return err
	}
	o := netns.Options{
		Publish:   len(s.cfg.Publish) > 0,
		Steered:   s.daemon != nil && s.daemon.opened.Steering == daemonctl.SteeringBPF,
		Attribute: s.answers(),
	}
	if s.group != nil {
		o.Cgroup = s.group.File()
	}
	if err := s.preparePen(o); err != nil {
		return err
	}
	pen := s.pen
	// The terminal is restored after the last process that could write to it.
	s.undo.push(func() { pen.Close(); s.term.Finish() })
	return nil
}

// startSandbox tells the pen's first process what to become.
func (s *session) startSandbox() error {
	line, end, err := shim.Pair()
	if err != nil {
		return err
	}
	s.line = line
	s.undo.push(func() { line.Close() })
	defer end.Close()
	given, _ := s.given()
	if err := line.Configure(s.shimConfig(), given...); err != nil {
		return err
	}
	var alive *os.File
	if s.janitor != nil {
		alive = s.janitor.Alive()
	}
	command, err := s.backend.Command(s.spec, end, alive)
	if err != nil {
		return err
	}
	defer command.Close()
	return s.pen.Execute(command)
}

// openTerminal decides what the command gets for each of the caller's streams.
func (s *session) openTerminal() error {
	t, err := terminal.New(s.stdio.In, s.stdio.Out, s.stdio.Err)
	if err != nil {
		return err
	}
	s.term = t
	s.undo.push(t.Finish)
	s.say.raw = t.Raw
	in, out, errs := t.Files()
	for i, f := range []*os.File{in, out, errs} {
		if s.stdioIDs[i], err = posture.Identify(f); err != nil {
			return fmt.Errorf("identify the standard streams: %w", err)
		}
	}
	return nil
}
