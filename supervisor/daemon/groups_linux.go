package daemon

import (
	"context"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// killTime bounds the end of a group's processes.
const killTime = 10 * time.Second

// emptyGroup ends what is in g and returns when nothing is.
func emptyGroup(g *cgroup.Group) error {
	if err := g.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	return g.Empty(ctx)
}

// quotaLimits are what bounds all of a user's pens together. Root's are not
// bounded: root could move them anywhere.
func quotaLimits(q *settings.Quota, uid int) sandbox.Limits {
	if uid == 0 {
		return sandbox.Limits{}
	}
	return sandbox.Limits{Memory: q.Memory, PIDs: q.PIDs, CPUs: q.CPUs}
}

// makeGroup makes the session's group, where there are any, and says what is in
// force.
func (s *session) makeGroup(opened *daemonctl.Opened) error {
	d, uid := s.c.d, s.c.peer.uid
	var limits []cgroup.Rlimit
	var caps []sandbox.Capability
	if d.cfg.Groups == nil {
		limits, caps = new(cgroup.Tree).Capabilities(s.open.Limits, uid == 0)
	} else {
		var err error
		quota := quotaLimits(&d.cfg.Settings.Quota, uid)
		if s.group, limits, caps, err = d.cfg.Groups.Pen(uid, s.id, s.open.Limits, quota); err != nil {
			return err
		}
		s.push(s.endGroup)
	}
	opened.Capabilities = append(opened.Capabilities, caps...)
	for _, l := range limits {
		opened.Rlimits = append(opened.Rlimits, daemonctl.Rlimit{Resource: l.Resource, Value: l.Value})
	}
	return nil
}

func (s *session) killGroup() {
	if s.group == nil {
		return
	}
	if err := emptyGroup(s.group); err != nil {
		s.c.d.cfg.Log("session %s: %v", s.id, err)
	}
}

func (s *session) endGroup() {
	s.killGroup()
	s.mu.Lock() // who asks for its usage meanwhile is answered before, or not any more
	s.removed = true
	err := s.group.Close()
	s.mu.Unlock()
	if err != nil {
		s.c.d.cfg.Log("session %s: %v", s.id, err)
	}
}
