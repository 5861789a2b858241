package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/darwin"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/proxyctl"
	"github.com/penstock/penstock/supervisor/terminal"
)

// machine is what only a session on macOS has.
type machine struct {
	dir     string // of the host, the command's own: its home and its temporary directory
	claimed *layout.Claimed
	tool    *plainPen        // the pen, to signal it
	trial   *net.TCPListener // to which nothing in the pen may connect
	tries   *shim.Tries
}

// overseer returns nil: there is no privileged supervisor here.
func (s *session) overseer() overseer { return nil }

// Run builds a pen, runs the command in it and returns how that ended. An error
// is Penstock's own failure; a *shim.ExecError says that the command could not
// be executed. Canceling ctx ends the session.
func Run(ctx context.Context, cfg *config.Config, stdio Stdio, backends []sandbox.Backend) (*Result, error) {
	s := &session{cfg: cfg, stdio: stdio, say: &printer{w: stdio.Err, quiet: cfg.Quiet}, started: time.Now()}
	res, err := s.run(ctx, backends)
	s.undo.run()
	if err != nil {
		return nil, err
	}
	if res.Summary != nil {
		s.report(res)
	}
	return res, nil
}

func (s *session) run(ctx context.Context, backends []sandbox.Backend) (*Result, error) {
	if err := s.choose(ctx, backends); err != nil {
		return nil, err
	}
	if err := s.anonymous(); err != nil {
		return nil, err
	}
	if err := s.unsupported(); err != nil {
		return nil, err
	}
	if err := s.limits(); err != nil {
		return nil, err
	}
	s.explicit = &explicit{}
	if s.cfg.DryRun {
		return s.dryRun()
	}
	if err := s.start(ctx); err != nil {
		return nil, s.abandon(err)
	}
	if err := s.verify(ctx); err != nil {
		return nil, s.abandon(err)
	}
	s.announce()
	return s.watch(ctx)
}

func (s *session) announce() {
	a := s.summed(s.spec.Mounts)
	a.brief(s.say)
	if s.cfg.Verbose {
		a.detail(s.say)
	}
}

// dryRun plans the session and says what it would be.
func (s *session) dryRun() (*Result, error) {
	for _, step := range []func() error{s.planTrust, s.ownDir, s.layOut} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s.caps = append(s.backend.Capabilities(0), s.caps...)
	return &Result{}, s.summed(s.spec.Mounts).dryRun(s.stdio.Out, s.cfg.JSON)
}

// start brings everything up until the shim is held, or about to be, and the proxy
// serves the session's port.
func (s *session) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	s.sigs = newSignals()
	if err := s.openTerminal(); err != nil {
		return err
	}
	if err := s.openAudit(); err != nil {
		return err
	}
	s.undo.push(func() { s.audit.File.Close() })
	if err := s.explicit.open(); err != nil {
		return err
	}
	s.undo.push(func() { s.explicit.listener.Close() })
	for _, step := range []func() error{s.planTrust, s.ownDir, s.layOut, s.claim, s.planTries} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := s.startProxy(ctx); err != nil {
		return err
	}
	s.undo.push(s.proxy.stop)
	if err := s.startSandbox(ctx); err != nil {
		return err
	}
	s.explicit.listener.Close() // the proxy's: when it dies, so does the port
	return s.listen(ctx)
}

// openTerminal decides what the command gets for each of the caller's streams.
func (s *session) openTerminal() (err error) {
	if s.term, err = terminal.New(s.stdio.In, s.stdio.Out, s.stdio.Err); err != nil {
		return err
	}
	s.undo.push(s.term.Finish)
	s.say.raw = s.term.Raw
	return nil
}

// claim makes what is denied and was not there, so that no other spelling of its name
// can be. Nobody removes it after a SIGKILL but the next session in the directory.
func (s *session) claim() (err error) {
	if s.claimed, err = layout.Claim(s.files.Placeholders); err != nil {
		return err
	}
	s.undo.push(func() {
		if err := s.claimed.Release(); err != nil {
			s.say.line("%v", err)
		}
	})
	return nil
}

// planTries settles what the shim has to be refused before the command runs: this
// session's own record, and a port at which this process listens.
func (s *session) planTries() error {
	record, err := filepath.Abs(s.audit.File.Name())
	if err != nil {
		return fmt.Errorf("find the session's record: %w", err)
	}
	if s.trial, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return fmt.Errorf("open a port to try: %w", err)
	}
	s.undo.push(func() { s.trial.Close() })
	s.tries = &shim.Tries{Open: []string{record}}
	s.tries.Connect = append(s.tries.Connect, s.trial.Addr().(*net.TCPAddr).AddrPort())
	return nil
}

// startSandbox starts the pen and sends the shim its orders.
func (s *session) startSandbox(ctx context.Context) error {
	line, end, err := shim.Pair()
	if err != nil {
		return err
	}
	s.line = line
	s.undo.push(func() { line.Close() })
	defer end.Close()
	pen, ok := s.backend.(*darwin.Backend)
	if !ok {
		return errors.New("start the pen: the tier is no tier of macOS")
	}
	command, err := pen.With(darwin.Options{Proxy: uint16(s.explicit.port), Terminal: s.term.Name()}).Command(s.spec, end, nil)
	if err != nil {
		return err
	}
	defer command.Close()
	in, out, errs := s.term.Files()
	// A session of its own from the first moment, of which sandbox-exec, the shim and
	// then the command are the leader.
	s.tool = newPlainPen([3]*os.File{in, out, errs}, sessionLeader(), endRest)
	s.pen = s.tool
	// The terminal is restored after the last process that could write to it.
	s.undo.push(func() { s.pen.Close(); s.term.Finish() })
	if err := s.pen.Execute(command); err != nil {
		return err
	}
	end.Close()
	if err := s.term.Started(); err != nil {
		return err
	}
	return line.Configure(ctx, &shim.Config{
		Argv: s.spec.Argv, Env: s.spec.Env, Dir: s.spec.Dir, Umask: -1, Terminal: s.spec.Terminal, Rlimits: s.rlimits, Tries: s.tries,
	})
}

// verify waits for the held shim. What holds it can't be read back from the kernel
// here, so it has tried what it must not be able to do. verify returns nil only when
// all of that was refused and the session's start is recorded; the command may then be
// released.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	ready, err := s.line.WaitReady(ctx)
	if err != nil {
		return s.notBuilt(ctx, err)
	}
	if err := s.compare(ready.Refused); err != nil {
		s.record(audit.TypeViolation, &audit.Violation{Kind: "posture", Detail: err.Error(), Action: "killed"})
		return err
	}
	s.caps = append(s.backend.Capabilities(0), s.caps...)
	var denied *proxyctl.DeniedError
	switch err := s.proxy.client.Record(ctx, audit.TypeSessionStart, s.sessionStart()); {
	case errors.As(err, &denied):
		return denied
	case err != nil:
		return s.proxyFailed(err)
	}
	return nil
}

// compare holds what the shim says was refused against what had to be, and against
// what came to the port that it was not to reach.
func (s *session) compare(refused int) error {
	if want := 2*len(s.tries.Open) + len(s.tries.Connect); refused != want {
		return fmt.Errorf("verify the pen: %d of %d trials were refused", refused, want)
	}
	if err := s.trial.SetDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("verify the pen: %w", err)
	}
	// What has arrived is there before its end is told to who has connected.
	if c, err := s.trial.Accept(); err == nil {
		c.Close()
		return errors.New("verify the pen: something connected to a port that its profile does not allow")
	}
	s.trial.Close()
	return nil
}

// notBuilt says why a pen that is being built has failed with err. What the sandbox
// itself said is on the caller's terminal.
func (s *session) notBuilt(ctx context.Context, err error) error {
	if !s.gone(ctx, err) {
		return err
	}
	state, werr := s.pen.Wait()
	if werr != nil {
		return err
	}
	return fmt.Errorf("%w (%v)", err, state)
}
