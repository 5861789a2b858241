//go:build linux || darwin

package proxyrole

import (
	"context"
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// whoFunc is netproxy.Config.Who.
type whoFunc = func(ctx context.Context, client, server netip.AddrPort) *hooks.Process

// attribute says who knows the processes of connections from now on.
func (e *engine) attribute(f whoFunc) { e.knows.Store(&f) }

func (e *engine) who(ctx context.Context, client, server netip.AddrPort) *hooks.Process {
	if f := e.knows.Load(); f != nil {
		return (*f)(ctx, client, server)
	}
	return nil
}

// still is netproxy.Config.Still: the kernel's word where there is one, else who
// is found to hold the connection now.
func (e *engine) still(ctx context.Context, who *hooks.Process, client, server netip.AddrPort) bool {
	if w := e.watcher(); w != nil {
		return w.Still(who)
	}
	now := e.who(ctx, client, server)
	return now != nil && now.PID == who.PID && now.Start == who.Start && now.Exe == who.Exe && !now.Shared
}
