package dialguard

import (
	"fmt"
	"net/netip"
	"testing"
)

// oracle is a second opinion on Free, written another way: a list of prefixes
// from the IANA registries, and embedded addresses by text.
func oracle(a netip.Addr) bool {
	refused := []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.88.99.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
		"::/3", "4000::/2", "8000::/1", "2001::/23",
	}
	in := func(a netip.Addr, list ...string) bool {
		for _, p := range list {
			if netip.MustParsePrefix(p).Contains(a) {
				return true
			}
		}
		return false
	}
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if a.Is4() {
		return !in(a, refused...)
	}
	x := a.StringExpanded() // 0123:4567:…
	hex := ""
	for _, c := range x {
		if c != ':' {
			hex += string(c)
		}
	}
	v4 := func(digits string, invert bool) netip.Addr {
		var b [4]byte
		fmt.Sscanf(digits, "%02x%02x%02x%02x", &b[0], &b[1], &b[2], &b[3])
		if invert {
			for i := range b {
				b[i] ^= 0xff
			}
		}
		return netip.AddrFrom4(b)
	}
	if id := hex[16:24]; (id == "00005efe" || id == "02005efe" || id == "01005efe" || id == "03005efe") && !oracle(v4(hex[24:], false)) {
		return false
	}
	switch {
	case in(a, "64:ff9b::/96"):
		return oracle(v4(hex[24:], false))
	case in(a, "2001::/32"):
		return oracle(v4(hex[8:16], false)) && oracle(v4(hex[24:], true))
	case in(a, "2002::/16"):
		return oracle(v4(hex[4:12], false))
	}
	return !in(a, refused...)
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{"1.1.1.1", "127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:a00:1::f5ff:fffe", "2606::5efe:a00:1", "fd00:ec2::254", "64:ff9b:1::1", "::1", "fe80::1"} {
		b := netip.MustParseAddr(s).As16()
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		if got, want := Classify(a).Free(), oracle(a); got != want {
			t.Errorf("%s (%s): free %v, the oracle says %v", a, Classify(a), got, want)
		}
		if a.Is6() && Classify(a.WithZone("eth0")) != ClassInvalid {
			t.Errorf("%s with a zone is not refused", a)
		}
		// Nothing but a prefix that contains it opens it, and then it is open.
		c := Classify(a.Unmap())
		if !c.Free() && permitted(a.Unmap(), c, nil) {
			t.Errorf("%s permitted without a rule", a)
		}
		if one := netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()); c != ClassInvalid && !permitted(a.Unmap(), c, []netip.Prefix{one}) {
			t.Errorf("%s not permitted by itself", a)
		}
	})
}
