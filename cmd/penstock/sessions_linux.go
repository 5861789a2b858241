package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/registry"
)

// askTimeout bounds a question about the running sessions.
const askTimeout = 5 * time.Second

// running is where running sessions are asked for: each session for itself, and
// the privileged supervisor for those that it looks after.
type running struct {
	socket string // of the privileged supervisor, "": the usual one
	all    bool   // everybody's; root only
}

// list returns the sessions, oldest first.
func (r *running) list(ctx context.Context) ([]registry.Status, error) {
	own, err := registry.List()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var theirs []daemonctl.Status
	// Who may not ask it has no session there.
	if c, err := r.dial(ctx); err == nil {
		theirs, err = c.List(ctx)
		c.Close()
		if err != nil {
			return nil, err
		}
	}
	list := merge(own, theirs)
	if !r.all {
		list = slices.DeleteFunc(list, func(s registry.Status) bool { return s.UID != os.Getuid() })
	}
	return list, nil
}

func (r *running) dial(ctx context.Context) (*daemonctl.Client, error) {
	return daemonctl.Dial(ctx, cmp.Or(r.socket, daemonctl.Path))
}

// merge joins what sessions say of themselves with what the privileged supervisor
// says, which counts where both speak: it measures, and a session is its user's.
func merge(own []registry.Status, theirs []daemonctl.Status) []registry.Status {
	out := slices.Clone(own)
	for _, d := range theirs {
		s := registry.Status{Session: d.Session, State: registry.Running}
		i := slices.IndexFunc(out, func(o registry.Status) bool { return o.Session == d.Session && o.UID == d.UID })
		if i >= 0 {
			s = out[i]
		}
		s.PID, s.UID, s.Started, s.Tier, s.Mode, s.Workdir, s.Command = d.PID, d.UID, d.Started, d.Tier, d.Mode, d.Workdir, d.Command
		s.CPU, s.Flows, s.Denied, s.Supervised = d.CPU, d.Flows, d.Denied, true
		// Zero is that nothing counts it there.
		s.Memory, s.PIDs = cmp.Or(d.Memory, s.Memory), cmp.Or(d.PIDs, s.PIDs)
		if i >= 0 {
			out[i] = s
		} else {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b registry.Status) int { return a.Started.Compare(b.Started) })
	return out
}

// kill ends a session.
func (r *running) kill(ctx context.Context, id string) (registry.Status, error) {
	s, err := registry.Kill(id)
	if err == nil {
		return s, nil
	}
	// It may be one that does not answer any more.
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, derr := r.dial(ctx)
	if derr != nil {
		return s, err
	}
	defer c.Close()
	full, derr := c.Kill(ctx, id)
	if derr != nil {
		return s, err
	}
	return registry.Status{Session: full, Supervised: true}, nil
}
