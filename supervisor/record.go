//go:build linux || darwin

package supervisor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/internal/version"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// sessionStart is the session's first record.
func (s *session) sessionStart() *audit.SessionStart {
	p := s.cfg.Policy
	ev := &audit.SessionStart{
		Argv: clipArgv(s.cfg.Command, 32<<10), Dir: s.cfg.Workdir, User: s.cfg.Host.User, UID: s.cfg.Host.UID,
		Version: version.String(), Tier: s.backend.Name(), Mode: string(s.cfg.Mode),
		PolicyHash: p.Hash(), PolicyDefault: p.Default(), Warnings: s.cfg.Warnings,
	}
	if s.cfg.Profile != nil {
		ev.Agent = s.cfg.Profile.Name
	}
	ev.Host, _ = os.Hostname()
	ev.Kernel = kernelRelease()
	for _, f := range p.Files() {
		ev.PolicyFiles = append(ev.PolicyFiles, audit.PolicyFile{Path: f.Name, Layer: f.Layer.String(), Hash: f.SHA256})
	}
	ev.PolicyFiles = append(ev.PolicyFiles, s.modules...)
	for _, c := range s.caps {
		ev.Capabilities = append(ev.Capabilities, audit.Capability{Control: c.Control, State: string(c.State), By: c.By, Detail: c.Detail, Fix: c.Fix})
	}
	return ev
}

// clipArgv bounds a command for a record or a message, in bytes.
func clipArgv(argv []string, most int) []string {
	for i, a := range argv {
		if most -= len(a) + 3; most < 0 {
			if i == 0 {
				return []string{strings.ToValidUTF8(a[:min(len(a), 1024)], "") + "…"}
			}
			return append(argv[:i:i], fmt.Sprintf("… (%d more)", len(argv)-i))
		}
	}
	return argv
}

// abandon ends a session that failed before its command ran, or because of
// Penstock itself. The pen dies first, then what can still be recorded is.
func (s *session) abandon(cause error) error {
	if s.pen != nil {
		s.pen.Close()
	}
	s.reason = "failed: " + cause.Error()
	s.end(125, "")
	return cause
}

// overseer is the privileged supervisor's part of a session that has one.
type overseer interface {
	running() bool
	flush(ctx context.Context) error // what it knows of the pen is in the audit
	end(s *session, exit int)
}

// end writes the session's last record, through the proxy or, if that is gone,
// with a writer of our own on the same file, and seals the session.
func (s *session) end(exit int, signal string) *proxyctl.Summary {
	if s.ended || s.id == "" {
		return nil
	}
	over := s.overseer()
	if over != nil {
		defer over.end(s, exit)
	}
	s.ended = true
	if s.ending != nil {
		s.ending()
	}
	ev := &audit.SessionEnd{ExitCode: exit, Signal: signal, Reason: s.reason, Duration: time.Since(s.started)}
	var sum *proxyctl.Summary
	if s.proxy != nil && s.proxy.running() {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		var err error
		if over != nil && over.running() {
			if err := over.flush(ctx); err != nil {
				s.say.line("%v", err)
			}
		}
		if sum, err = s.proxy.client.End(ctx, ev); err != nil {
			sum = nil
			why := s.proxyFailed(err)
			switch {
			case over != nil && !over.running(): // its word is why
			case s.reason == "exit" && s.proxy.broke():
				// The command may have ended of that, before this process heard.
				s.lost = why
				ev.ExitCode, ev.Signal, ev.Reason = 125, "", "failed: "+why.Error()
			default:
				s.say.line("%v", why)
			}
		}
	}
	if s.proxy != nil {
		s.proxy.kill()
		defer s.proxy.stop()
	}
	if over != nil {
		return sum // it seals
	}
	if sum == nil {
		if s.proxy != nil {
			s.proxy.stop() // a file has one writer
		}
		if err := s.endWithoutProxy(ev); err != nil {
			s.say.line("the session's end is not recorded: %v", err)
			return nil
		}
		return nil
	}
	head, err := headOf(sum)
	if err == nil {
		err = s.audit.Seal(sum.HeadSeq, head)
	}
	if err != nil {
		s.say.line("the session is not sealed: %v", err)
	}
	return sum
}

// endWithoutProxy is possible because the proxy is dead.
func (s *session) endWithoutProxy(ev *audit.SessionEnd) error {
	w, err := audit.NewWriter(s.audit.File, s.audit.ID)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Append(ev); err != nil {
		return err
	}
	seq, head := w.Head()
	return s.audit.Seal(seq, head)
}

// report prints the summary.
func (s *session) report(res *Result) {
	sum := &summary{Session: res.Session, Proxy: res.Summary, Mode: string(s.cfg.Mode), AuditDir: s.cfg.AuditDir}
	if !s.cfg.Quiet {
		sum.write(s.stdio.Err)
	}
	if path := s.cfg.Host.Getenv(jobSummaryVariable); s.cfg.CI && path != "" {
		if err := writeJobSummary(path, sum, s.cfg.Command, res.ExitCode); err != nil {
			s.say.line("%v", err)
		}
	}
}

// exitOf translates how bwrap ended: it gives back the command's exit code, and
// 128+n where a signal ended the command.
func exitOf(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// record writes an event of the supervisor's into the audit.
func (s *session) record(kind string, ev any) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if err := s.proxy.client.Record(ctx, kind, ev); err != nil {
		s.say.line("%v", err)
	}
}
