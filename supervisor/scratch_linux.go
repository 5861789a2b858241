package supervisor

import (
	"os"

	"github.com/penstock/penstock/sandbox/layout"
)

type scratchTerm struct{ s Stdio }

func (t scratchTerm) Files() (a, b, c *os.File) { return t.s.In, t.s.Out, t.s.Err }
func (t scratchTerm) Started() error            { return nil }
func (t scratchTerm) Finish()                   {}

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
