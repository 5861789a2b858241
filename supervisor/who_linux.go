package supervisor

import (
	"context"
	"net/netip"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/sandbox/who"
)

// keepDiag takes the sockets that tell about the pen's connections out of what
// goes to the proxy: it has no business with them.
func (s *session) keepDiag(sockets *netns.Sockets) {
	s.diag, s.track = sockets.Diag, sockets.Track
	sockets.Diag, sockets.Track = nil, nil
	s.undo.push(func() {
		s.diag.Close() // nil is fine
		s.track.Close()
	})
}

// answers tells whether this process has to know who opened a connection: always
// but where the proxy hears it from the kernel, which does not know what is in an
// executable, and where there is no network of the command's own to look into.
func (s *session) answers() bool {
	return s.explicit == nil && (s.daemon == nil || !s.daemon.opened.Attributed || s.cfg.Policy.NeedsHash())
}

// attribute begins to answer the proxy's questions which process opened a
// connection. It reads the pen's /proc with the caller's rights, which the proxy
// has not. Where the kernel can't tell, every answer is that nobody is known.
func (s *session) attribute(seen *posture.Observation) error {
	if s.diag == nil {
		return nil
	}
	needs := s.cfg.Policy.NeedsProcess()
	r, err := who.New(who.Pen{Diag: s.diag, Track: s.track, CapturePort: netns.CapturePort,
		PIDNamespace: seen.Namespaces.PID, Init: seen.Parent, Exact: needs, Hash: needs})
	if err != nil {
		return err
	}
	s.diag, s.track = nil, nil
	s.undo.push(func() { r.Close() })
	s.proxy.client.Answer(func(ctx context.Context, client, server netip.AddrPort) *hooks.Process {
		p, err := r.Lookup(ctx, client, server)
		if err != nil {
			return nil // and the audit has no process: there is none to name
		}
		return p
	})
	return nil
}
