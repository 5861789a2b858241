package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func floorOf(t *testing.T, text string) *Policy {
	t.Helper()
	floor, err := Parse("floor", System, []byte("version: 1\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	user, err := Parse("user", User, []byte("version: 1\negress: {default: allow, deny: [{cidr: 9.9.9.9/32}]}"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{floor, user})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ranges(list []netip.Prefix) string { return strings.Trim(fmt.Sprint(list), "[]") }

func TestDenied(t *testing.T) {
	synthetic := netip.MustParsePrefix("198.18.0.0/15")
	for _, tt := range []struct{ deny, want string }{
		{"{cidr: 203.0.113.0/24}", "203.0.113.0/24"},
		{"{cidr: '2001:db8::/32'}, {cidr: 10.0.0.0/8}, {cidr: 10.1.0.0/16}, {cidr: 10.0.0.0/8}", "10.0.0.0/8 2001:db8::/32"},
		// All that says more than the address.
		{"{cidr: 1.0.0.0/8, ports: [443]}, {cidr: 2.0.0.0/8, protocol: tcp}, {cidr: 3.0.0.0/8, protocol: http}, {cidr: 4.0.0.0/8, methods: [PUT]}, {cidr: 5.0.0.0/8, paths: [/x]}", ""},
		{"{cidr: 6.0.0.0/8, process: {exe: /bin/sh}}, {host: evil.example}, {host: '*'}", ""},
		{"{cidr: 198.18.5.0/24}, {cidr: 198.18.0.0/15}", ""},
		{"{cidr: 198.16.0.0/13}", "198.20.0.0/14 198.16.0.0/15"},
		{"{cidr: 198.17.0.0/16}", "198.17.0.0/16"},
	} {
		if got := ranges(floorOf(t, "egress: {deny: ["+tt.deny+"]}").Denied(100, synthetic)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.deny, got, tt.want)
		}
	}
	p := floorOf(t, "egress: {deny: [{cidr: 203.0.113.7/32}, {cidr: 203.0.112.0/24}, {cidr: 8.0.0.0/8}, {cidr: '2001::/16'}]}")
	if got := ranges(p.Denied(2)); got != "8.0.0.0/8 2001::/16" {
		t.Errorf("the widest are %s", got)
	}
}

// TestDeniedIsDenied: what is told to the fence is what Decide denies, whatever is
// asked, and nothing else of a floor that denies everything.
func TestDeniedIsDenied(t *testing.T) {
	holes := []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fd12:3456:789a:bcde::/64")}
	p := floorOf(t, "egress: {deny: [{cidr: 0.0.0.0/0}, {cidr: '::/0'}]}")
	list := p.Denied(1000, holes...)
	if len(list) != 15+64 {
		t.Errorf("%d ranges: %s", len(list), ranges(list))
	}
	in := func(s string) bool {
		for _, c := range list {
			if c.Contains(netip.MustParseAddr(s)) {
				return true
			}
		}
		return false
	}
	for s, want := range map[string]bool{
		"0.0.0.0": true, "198.17.255.255": true, "198.18.0.0": false, "198.19.255.255": false, "198.20.0.0": true, "255.255.255.255": true,
		"::": true, "fd12:3456:789a:bcdd:ffff:ffff:ffff:ffff": true, "fd12:3456:789a:bcde::": false, "fd12:3456:789a:bcde:ffff:ffff:ffff:ffff": false, "fd12:3456:789a:bcdf::": true,
	} {
		if in(s) != want {
			t.Errorf("%s: %v, want %v", s, in(s), want)
		}
		if !want {
			continue
		}
		for _, proto := range []hooks.Protocol{hooks.ProtocolTCP, hooks.ProtocolTLS, hooks.ProtocolHTTP, hooks.ProtocolHTTPS} {
			r := hooks.Request{Protocol: proto, Target: hooks.Target{Addr: netip.MustParseAddr(s), Port: 12345}, Method: "GET", Path: "/"}
			if v := p.Decide(&r); v.Action != hooks.Deny {
				t.Errorf("%s over %v: %v", s, proto, v.Action)
			}
		}
	}
}

// FuzzDenied: what is left out of a range is all that is left out.
func FuzzDenied(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0}, uint8(8), []byte{10, 1, 0, 0}, uint8(16), []byte{10, 1, 2, 3})
	f.Add([]byte{198, 0, 0, 0}, uint8(0), []byte{198, 18, 0, 0}, uint8(15), []byte{198, 20, 0, 0})
	f.Fuzz(func(t *testing.T, a []byte, bits uint8, b []byte, hole uint8, c []byte) {
		one, ok1 := netip.AddrFromSlice(a)
		two, ok2 := netip.AddrFromSlice(b)
		at, ok3 := netip.AddrFromSlice(c)
		if !ok1 || !ok2 || !ok3 {
			return
		}
		p, err1 := one.Prefix(int(bits))
		h, err2 := two.Prefix(int(hole))
		if err1 != nil || err2 != nil {
			return
		}
		in := 0
		for _, x := range except(p, h) {
			if x.Contains(at) {
				in++
			}
			if x != x.Masked() {
				t.Errorf("%s is not cut", x)
			}
		}
		if want := p.Contains(at) && !h.Contains(at); in > 1 || (in == 1) != want {
			t.Errorf("%s without %s: %s is in %d", p, h, at, in)
		}
	})
}
