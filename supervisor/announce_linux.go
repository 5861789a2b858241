package supervisor

// announcement says what the session is.
func (s *session) announcement() *announcement {
	a := s.summed(s.shown)
	a.Supervisor, a.Worktree, a.Copy = s.supervisor(), s.worktreeNote(), s.copyNote()
	return a
}

func (s *session) announce() {
	if s.bare() {
		s.banner(s.say)
	}
	a := s.announcement()
	a.brief(s.say)
	if s.cfg.Verbose {
		a.detail(s.say)
	}
}
