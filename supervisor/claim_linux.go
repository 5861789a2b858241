package supervisor

import (
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/janitor"
)

// claim makes the placeholders.
func (s *session) claim() error {
	o := janitor.Orders{Placeholders: s.files.Placeholders}
	if s.group != nil {
		o.Group = s.group.Dir()
	}
	if s.janitor == nil {
		return nil
	}
	if err := s.janitor.Instruct(o); err != nil {
		return err
	}
	var err error
	s.claimed, err = layout.Claim(s.files.Placeholders)
	return err
}

// putAway ends the pen, if it has not ended by itself, removes the placeholders
// and lets the janitor go. The pen is first, because a placeholder carries a
// protection while it lives. Calling it again does nothing.
func (s *session) putAway() {
	if s.janitor == nil {
		return
	}
	s.pen.Close()
	if s.claimed != nil && s.janitor.PenGone() { // else they stay the janitor's
		if err := s.claimed.Release(); err != nil {
			s.say.line("%v", err)
		}
	}
	s.janitor.Dismiss()
	s.janitor = nil
}
