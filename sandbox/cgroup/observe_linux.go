package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
)

// Observe returns the group that a daemon has made for a session, for looking
// only: Usage, Counts, Watch and Close, which removes nothing. Anybody may read a
// group's files. pid is a process in the session's pen.
func Observe(pid int, session string) (*Group, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	all, err := mounted()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	g := &Group{by: map[string]carrier{}, seen: true}
	for i, h := range all {
		of, ok := groupOf(string(text), h)
		_, user := userOf(filepath.Base(filepath.Dir(of)))
		if !ok || !user || filepath.Base(of) != "s"+session {
			continue
		}
		dir := filepath.Join(h.dir, of)
		if i > 0 {
			for _, c := range h.controllers {
				g.by[c] = carrier{dir, false}
			}
			continue
		}
		g.dir, g.Path = dir, of
		have, err := fields(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		for _, c := range controllers {
			if have[c] {
				g.by[c] = carrier{dir, true}
			}
		}
	}
	if g.dir == "" {
		return nil, fmt.Errorf("%w: process %d is in no group of session %s", ErrUnavailable, pid, session)
	}
	return g, nil
}
