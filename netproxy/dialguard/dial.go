package dialguard

import (
	"context"
	"net"
	"net/netip"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Dial connects to a target that the policy has allowed by a rule with the
// address profile d; nil allows public addresses only. See DialAllowed.
func (g *Guard) Dial(ctx context.Context, t hooks.Target, d *policy.Dial) (net.Conn, error) {
	var allowed []netip.Prefix
	if d != nil {
		allowed = d.Addresses
	}
	return g.DialAllowed(ctx, t, allowed)
}
