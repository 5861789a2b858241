package dialguard

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// TestDelegate: what a proxy is asked for is what would be dialled, as far as it
// can be known without a look-up, of which there is none.
func TestDelegate(t *testing.T) {
	addr := netip.MustParseAddr
	own := addr("203.0.113.5")
	g := &Guard{
		Hosts: func(name string) (netip.Addr, bool) {
			a, ok := map[string]netip.Addr{"fixed.example": addr("203.0.113.9"), "inside.example": addr("10.1.1.1")}[name]
			return a, ok
		},
		Own: func() ([]netip.Addr, error) { return []netip.Addr{own}, nil },
	}
	inside := &policy.Dial{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, c := range []struct {
		in   hooks.Target
		d    *policy.Dial
		want string // "" is a refusal
	}{
		{hooks.Target{Host: "a.example", Port: 1}, nil, "a.example:1"},
		{hooks.Target{Host: "fixed.example", Port: 1}, nil, "203.0.113.9:1"},
		{hooks.Target{Host: "inside.example", Port: 1}, nil, ""},
		{hooks.Target{Host: "inside.example", Port: 1}, inside, "10.1.1.1:1"},
		{hooks.Target{Host: HostName, Port: 1}, nil, ""},
		{hooks.Target{Host: "127.1", Port: 1}, nil, ""},
		{hooks.Target{Host: "0x7f000001", Port: 1}, nil, ""},
		{hooks.Target{Host: "a b", Port: 1}, nil, ""},
		{hooks.Target{Addr: addr("203.0.113.1"), Port: 1}, nil, "203.0.113.1:1"},
		{hooks.Target{Addr: addr("::ffff:203.0.113.1"), Port: 1}, nil, "203.0.113.1:1"},
		{hooks.Target{Addr: addr("127.0.0.1"), Port: 1}, nil, ""},
		{hooks.Target{Addr: addr("::ffff:127.0.0.1"), Port: 1}, nil, ""},
		{hooks.Target{Addr: addr("169.254.169.254"), Port: 1}, nil, ""},
		{hooks.Target{Addr: addr("10.1.1.1"), Port: 1}, nil, ""},
		{hooks.Target{Addr: addr("10.1.1.1"), Port: 1}, inside, "10.1.1.1:1"},
		{hooks.Target{Addr: own, Port: 1}, nil, ""},
	} {
		got, err := g.Delegate(c.in, c.d)
		var refused *RefusedError
		switch {
		case c.want == "" && !errors.As(err, &refused):
			t.Errorf("%v: %v, %v", c.in, got, err)
		case c.want != "" && (err != nil || got.String() != c.want):
			t.Errorf("%v: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
}
