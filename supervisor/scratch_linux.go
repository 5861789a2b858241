package supervisor

import (
	"context"
	"os"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/layout"
)

func escape(s string) string { return text.Escape(s) }

type scratchTerm struct{ s Stdio }

func (t scratchTerm) Files() (a, b, c *os.File) { return t.s.In, t.s.Out, t.s.Err }
func (t scratchTerm) Started() error            { return nil }
func (t scratchTerm) Finish()                   {}

func (s *session) verify(ctx context.Context, _ *signals) error {
	p, err := s.line.WaitReady(ctx)
	if err != nil {
		return err
	}
	if s.tool, err = openProcess(p.PID); err != nil {
		return err
	}
	return s.proxy.client.Record(ctx, "session_start", s.sessionStart())
}

// claim makes the placeholders and hires the janitor. It is undone when the pen
// is gone, which start pushes later and so undoes earlier.
func (s *session) claim() error {
	if len(s.files.Placeholders) == 0 {
		return nil
	}
	c, err := layout.Claim(s.files.Placeholders)
	if err != nil {
		return err
	}
	s.undo.push(func() {
		if err := c.Release(); err != nil {
			s.say.line("%v", err)
		}
	})
	if s.janitor, err = startJanitor(s.cfg.Host.Self, c); err != nil {
		return err
	}
	s.undo.push(func() { c.Release(); s.janitor.dismiss() })
	return nil
}

// aliveEnd is what the pen's first process holds open.
func (s *session) aliveEnd() *os.File {
	if s.janitor == nil {
		return nil
	}
	return s.janitor.alive
}

func (s *session) limits() error { return nil }
