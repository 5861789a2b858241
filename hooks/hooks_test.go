package hooks_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestZeroIsDeny: what nobody filled in denies.
func TestZeroIsDeny(t *testing.T) {
	var d hooks.Decision
	if d.Action != hooks.Deny {
		t.Errorf("the zero decision is %s", d.Action)
	}
	var p hooks.Protocol
	if p != hooks.ProtocolUnknown {
		t.Errorf("the zero protocol is %s", p)
	}
	for a := range 256 {
		if s := hooks.Action(a).String(); s == "allow" && hooks.Action(a) != hooks.Allow {
			t.Errorf("action %d calls itself allow", a)
		}
	}
	if s := hooks.Protocol(200).String(); s != "unknown" {
		t.Errorf("a protocol that does not exist is called %q", s)
	}
}

func TestTargetString(t *testing.T) {
	for _, tt := range []struct {
		target hooks.Target
		name   string
		want   string
	}{
		{hooks.Target{Host: "a.example", Port: 443}, "a.example", "a.example:443"},
		{hooks.Target{Addr: netip.MustParseAddr("203.0.113.7"), Port: 22}, "203.0.113.7", "203.0.113.7:22"},
		{hooks.Target{Addr: netip.MustParseAddr("2001:db8::7"), Port: 443}, "2001:db8::7", "[2001:db8::7]:443"},
		{hooks.Target{}, "", ":0"},
	} {
		if got := tt.target.Name(); got != tt.name {
			t.Errorf("%+v: name %q, want %q", tt.target, got, tt.name)
		}
		if got := tt.target.String(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.target, got, tt.want)
		}
	}
}

func ExampleTarget() {
	t := hooks.Target{Host: "api.example.com", Port: 443}
	fmt.Println(t)
	// Output: api.example.com:443
}
