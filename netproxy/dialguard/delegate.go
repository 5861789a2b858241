package dialguard

import (
	"net/netip"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Delegate returns what is asked of an upstream proxy that is to reach t, which
// the policy has allowed by a rule with the address profile d. An address is
// judged like one that is dialled here, and a static name becomes its address; any
// other name is the proxy's to resolve, and what it finds nobody judges here.
func (g *Guard) Delegate(t hooks.Target, d *policy.Dial) (hooks.Target, error) {
	if t.Host != "" {
		a, static := netip.Addr{}, false
		if g.Hosts != nil {
			a, static = g.Hosts(t.Host)
		}
		switch {
		case t.Host == HostName || !static && !plausible(t.Host):
			return hooks.Target{}, &RefusedError{Class: ClassInvalid, Name: t.Host}
		case !static:
			return t, nil
		}
		t = hooks.Target{Addr: a.Unmap(), Port: t.Port}
	}
	var allowed []netip.Prefix
	if d != nil {
		allowed = d.Addresses
	}
	t.Addr = t.Addr.Unmap()
	return t, g.check("", []netip.Addr{t.Addr}, allowed)
}
