package daemon

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/penstock/penstock/supervisor/daemonctl"
)

// ask answers what needs no session.
func (c *connection) ask(m *daemonctl.Message) error {
	switch m.Op {
	case daemonctl.OpList:
		return c.list()
	case daemonctl.OpKill:
		id, err := c.kill(m.Session)
		if err != nil {
			return err
		}
		return c.answer(&daemonctl.Message{Op: daemonctl.OpKilled, Session: id})
	case daemonctl.OpAudit:
		dir, err := c.d.state.directory(c.peer.uid)
		if err != nil {
			return err
		}
		defer dir.Close()
		return c.answer(&daemonctl.Message{Op: daemonctl.OpDirectory}, dir)
	case daemonctl.OpStatus:
		f, err := readFloor(c.d.cfg.Policy)
		if err != nil {
			return err
		}
		c.d.mu.Lock()
		n := len(c.d.sessions)
		c.d.mu.Unlock()
		return c.answer(&daemonctl.Message{Op: daemonctl.OpDaemon, Daemon: &daemonctl.Daemon{
			Version: c.d.cfg.Version, Sessions: n, Steering: c.d.steering(), Capabilities: c.d.capabilities(true), Floor: f.digest,
		}})
	}
	return &refusal{string(m.Op) + " is out of turn", ""}
}

// visible are the sessions that the caller may know of, the oldest first.
func (c *connection) visible() []*session {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*session
	for _, s := range c.d.sessions {
		if c.peer.uid == 0 || s.c.peer.uid == c.peer.uid {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// list sends as much about each session as fits into one message.
func (c *connection) list() error {
	list := []daemonctl.Status{}
	for _, s := range c.visible() {
		list = append(list, s.status())
	}
	m := &daemonctl.Message{Op: daemonctl.OpSessions}
	for _, most := range []int{1024, 128, 16, 0} {
		m.List = clipped(list, most)
		if _, err := m.Encode(); err == nil {
			return c.answer(m)
		}
	}
	for len(m.List) > 0 {
		m.List = m.List[:len(m.List)/2]
		if _, err := m.Encode(); err == nil {
			break
		}
	}
	return c.answer(m)
}

// clipped leaves most bytes of each command and directory.
func clipped(list []daemonctl.Status, most int) []daemonctl.Status {
	out := make([]daemonctl.Status, len(list))
	for i, s := range list {
		out[i] = s
		out[i].Workdir = clip(s.Workdir, most)
		left := most
		out[i].Command = []string{}
		for _, w := range s.Command {
			if left <= 0 {
				break
			}
			out[i].Command = append(out[i].Command, clip(w, left))
			left -= len(w) + 1
		}
	}
	return out
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (s *session) status() daemonctl.Status {
	n := s.proxy.numbers()
	st := daemonctl.Status{
		Session: s.id, UID: s.c.peer.uid, PID: s.c.peer.pid, Started: s.begun, Tier: s.open.Tier, Mode: s.open.Mode,
		Workdir: s.open.Workdir, Command: s.open.Command, Flows: n.Flows, Denied: n.Denied,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group != nil && !s.removed {
		u := s.group.Usage()
		st.Memory, st.PIDs, st.CPU = u.Memory, u.PIDs, u.CPU
	}
	return st
}

// goneTime bounds how long kill waits for what it has ended.
const goneTime = 20 * time.Second

// kill ends a session of the caller's. Another's is answered like one that does
// not exist.
func (c *connection) kill(name string) (string, error) {
	var found []*session
	for _, s := range c.visible() {
		if s.id == name {
			found = []*session{s}
			break
		}
		if strings.HasPrefix(s.id, name) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return "", &refusal{fmt.Sprintf("no running session %.80q", name), "penstock ps lists the running sessions"}
	case 1:
	default:
		return "", &refusal{fmt.Sprintf("%.80q names %d sessions", name, len(found)), "penstock ps lists the running sessions"}
	}
	s := found[0]
	who := "its user"
	if c.peer.uid != s.c.peer.uid {
		who = "root"
	}
	s.cancel("killed by " + who)
	t := time.NewTimer(goneTime)
	defer t.Stop()
	select {
	case <-s.finished:
		return s.id, nil
	case <-t.C:
		return "", fmt.Errorf("session %s does not end", s.id)
	}
}
