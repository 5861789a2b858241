package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/config"
)

// shownChanges bounds the lines of each list at a session's end.
const shownChanges = 40

// apartTimeout is how long it may take to make what a session works on in place of the
// host's files, and to read what became of it.
const apartTimeout = 20 * time.Minute

// apart is what a session works on in place of the host's files: a worktree or a copy.
type apart interface {
	terms() terms
	// collect brings in what the session made and writes what that is. done says
	// that nothing has to be decided about it.
	collect(ctx context.Context, b *bytes.Buffer) (done bool, err error)
	// apply does what terms.Apply asks for, and says what was done.
	apply(ctx context.Context) (said string, err error)
	// remove takes it away, and says what that was.
	remove(ctx context.Context) (said string, err error)
	// keep notes that it stays.
	keep() error
	Close() error
}

// terms are the words about one.
type terms struct {
	Thing   string // "worktree"; penstock THING is the command
	Name    string
	ID      string
	Apply   string // config.Merge
	Applied string // "merged"
	End     string // what was asked for beforehand
}

// apart is what this session works on, nil if on the files themselves.
func (s *session) apart() apart {
	switch {
	case s.tree != nil:
		return &treeApart{s.tree, s.cfg.WorktreeEnd}
	case s.copy != nil:
		return &copyApart{Held: s.copy, s: s}
	}
	return nil
}

// finishApart joins the end of what the session worked on with the session's own.
func (s *session) finishApart(res *Result, err error) error {
	a := s.apart()
	if a == nil {
		return err
	}
	defer a.Close()
	aerr := s.endApart(a, res, err)
	switch {
	case aerr == nil:
		return err
	case err != nil:
		return errors.Join(err, aerr)
	case res.ExitCode != 0:
		s.say.line("%v", aerr) // the command's own failure is told by the exit code
		return nil
	}
	return aerr
}

// endApart shows what the session made and does with it what was asked for. failed is
// how the session itself ended. The error is for what was asked for and not done.
func (s *session) endApart(a apart, res *Result, failed error) error {
	t := a.terms()
	ctx, cancel := context.WithTimeout(context.Background(), apartTimeout)
	defer cancel()
	if !s.ran {
		_, err := a.remove(ctx)
		return err
	}
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	s.sigs.drain()
	s.sigs.interrupt(ctx, interrupt)
	var b bytes.Buffer
	done, err := a.collect(ctx, &b)
	if err != nil {
		s.say.line("WARNING: %s %s is left as it is: %v", t.Thing, t.Name, err)
		s.say.line("  try again with: penstock %s show %s", t.Thing, t.ID)
		if t.End == t.Apply || t.End == config.Discard {
			return err
		}
		return nil
	}
	if !s.cfg.Quiet {
		for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			s.say.line("%s", l)
		}
	}
	if done {
		_, err := a.remove(ctx)
		return err
	}
	end := t.End
	if end == "" && failed == nil {
		end = s.askEnd(ctx, t.Apply)
	}
	if end == t.Apply && (failed != nil || res.ExitCode != 0) {
		s.say.line("not %s, because the command failed", t.Applied)
		end = config.Keep
	}
	said := ""
	switch end {
	case t.Apply:
		if said, err = a.apply(ctx); err != nil {
			return errors.Join(err, s.keepApart(a))
		}
	case config.Discard:
		if said, err = a.remove(ctx); err != nil {
			return err
		}
	default:
		return s.keepApart(a)
	}
	if !s.cfg.Quiet {
		s.say.line("%s", said)
	}
	return nil
}

// keepApart says how to go on with what stays.
func (s *session) keepApart(a apart) error {
	err := a.keep()
	if t := a.terms(); !s.cfg.Quiet {
		s.say.line("%s kept: penstock %s diff %s", t.Thing, t.Thing, t.ID)
		s.say.line("  then: penstock %s %s %s, or: penstock %s rm %s", t.Thing, t.Apply, t.ID, t.Thing, t.ID)
	}
	return err
}

// drain drops the signals that were the command's.
func (s *signals) drain() {
	for {
		select {
		case <-s.c:
		default:
			return
		}
	}
}

// interrupt ends ctx at the caller's next signal: nobody else takes one. The channel is
// closed when it looks for none any more.
func (s *signals) interrupt(ctx context.Context, interrupt context.CancelCauseFunc) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case sig := <-s.c:
			interrupt(fmt.Errorf("interrupted (%v)", sig))
		case <-ctx.Done():
		}
	}()
	return over
}

// askEnd asks on a terminal what to do; no answer keeps it.
func (s *session) askEnd(ctx context.Context, apply string) string {
	for _, f := range []*os.File{s.stdio.In, s.stdio.Err} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return config.Keep
		}
	}
	if fg, err := unix.IoctlGetInt(int(s.stdio.In.Fd()), unix.TIOCGPGRP); err != nil || fg != unix.Getpgrp() {
		return config.Keep // in the background nobody is asked
	}
	// What was typed ahead was meant for the command.
	unix.IoctlSetInt(int(s.stdio.In.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	fmt.Fprintf(s.say, "penstock: %s, discard or keep it? [keep] ", apply)
	answer := make(chan string, 1)
	go func() {
		var line []byte
		for b := make([]byte, 1); len(line) < 80; {
			n, err := s.stdio.In.Read(b)
			if n == 0 || err != nil || b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		answer <- strings.ToLower(strings.TrimSpace(string(line)))
	}()
	select {
	case a := <-answer:
		switch a {
		case apply[:1], apply:
			return apply
		case "d", config.Discard:
			return config.Discard
		}
	case <-ctx.Done():
		fmt.Fprintln(s.say)
	}
	return config.Keep
}
