package ebpf

import (
	"net/netip"
	"strings"
	"testing"
)

// TestGuard: whatever runs in a proxy, the host's own services are out of reach.
// The proxy here is in a namespace where every address answers, so that what is
// not refused is connected.
func TestGuard(t *testing.T) {
	r := newRig(t)
	group, id := r.group(r.proxies, "slot1")
	slot, err := r.p.AddSlot(id, []Allowed{
		{netip.MustParsePrefix("127.0.0.53/32"), 53},
		{netip.MustParsePrefix("10.1.0.0/16"), 443},
		{netip.MustParsePrefix("192.168.1.1/32"), 0},
		{netip.MustParsePrefix("fd00::5/128"), 8443},
	})
	must(t, err)
	other, otherID := r.group(r.proxies, "slot2")
	_, err = r.p.AddSlot(otherID, []Allowed{{netip.MustParsePrefix("::/0"), 0}})
	must(t, err)
	ns := newNetns(t)
	proxy, second := start(t, group, ns), start(t, other, ns)
	refused := uint64(0)
	for _, c := range []struct{ target, want string }{
		{"127.0.0.1:22", "EACCES"}, {"127.0.0.53:54", "EACCES"}, {"127.0.0.53:53", "pass"}, {"0.0.0.0:80", "EACCES"}, {"0.1.2.3:80", "EACCES"},
		{"169.254.169.254:80", "EACCES"}, {"10.2.0.1:443", "EACCES"}, {"10.1.2.3:443", "pass"}, {"10.1.2.3:80", "EACCES"},
		{"172.16.0.1:80", "EACCES"}, {"172.31.255.255:80", "EACCES"}, {"172.32.0.1:80", "pass"}, {"172.15.255.255:80", "pass"},
		{"192.168.1.1:1", "pass"}, {"192.168.1.2:1", "EACCES"}, {"100.64.0.1:80", "EACCES"}, {"100.127.255.255:80", "EACCES"}, {"100.128.0.1:80", "pass"},
		{"198.18.0.1:80", "EACCES"}, {"224.0.0.1:80", "EACCES"}, {"255.255.255.255:80", "EACCES"}, {"240.0.0.1:80", "EACCES"},
		{"8.8.8.8:443", "pass"},
		{"[::1]:22", "EACCES"}, {"[::]:22", "EACCES"}, {"[fe80::1]:80", "EACCES"}, {"[fd00::5]:8443", "pass"}, {"[fd00::5]:80", "EACCES"}, {"[fc00::1]:80", "EACCES"},
		{"[ff02::1]:80", "EACCES"}, {"[2606:4700::1]:443", "pass"}, {"[64:ff9b::10.0.0.1]:80", "EACCES"}, {"[64:ff9b::8.8.8.8]:80", "pass"},
		{"[2002:7f00:1::1]:80", "EACCES"}, {"[2002:808:808::1]:80", "pass"}, {"[2001::1]:80", "EACCES"}, {"[64:ff9b:1::1]:80", "EACCES"}, {"[::7f00:1]:80", "EACCES"},
	} {
		v4 := netip.MustParseAddrPort(c.target).Addr().Is4()
		for _, how := range []struct{ open, do string }{
			{"inet stream 0", "use s connect "}, {"inet dgram 0", "use s connect "}, {"inet dgram 0", "use s send "},
			{"inet6 stream 0", "use s connect "}, {"inet6 dgram 0", "use s send "}, {"inet stream mptcp", "use s connect "}, {"inet stream 0", "fastopen s "},
		} {
			if !v4 && how.open[:5] != "inet6" {
				continue
			}
			proxy.do("open s " + how.open)
			got := proxy.do(how.do + c.target)
			if (got == "EACCES") != (c.want == "EACCES") {
				t.Errorf("%s: %s%s: %s, want %s", how.open, how.do, c.target, got, c.want)
			}
			if got == "EACCES" {
				refused++
			}
			proxy.do("close s")
		}
	}
	if n, err := slot.Denied(); err != nil || n != refused {
		t.Errorf("%d refusals were counted, %d seen, %v", n, refused, err)
	}
	for _, target := range []string{"127.0.0.53:53", "10.1.2.3:443"} {
		second.do("open s inet stream 0")
		if got := second.do("use s connect " + target); got != "EACCES" { // though it may reach all of IPv6
			t.Errorf("another slot's %s: %s", target, got)
		}
	}
	for _, s := range []string{"inet raw 1", "inet6 raw 58", "inet dgram 136"} {
		if got := proxy.do("socket " + s); got != "EPERM" && got != "EACCES" {
			t.Errorf("%s: %s", s, got)
		}
	}
	must(t, slot.Close())
	must(t, slot.Close())
	proxy.do("open s inet stream 0")
	if got := proxy.do("use s connect 127.0.0.53:53"); got != "EACCES" {
		t.Errorf("after the slot's end: %s", got)
	}
}

// TestDenied: what is denied to one session is denied to that one only, up to its
// bound, and is gone with it.
func TestDenied(t *testing.T) {
	r := newRig(t)
	pen, other := r.session("s1"), r.session("s2")
	tools := map[*testPen]*tool{pen: start(t, pen.cgroup, pen.net), other: start(t, other.cgroup, other.net)}
	check := func(pen *testPen, want string, targets ...string) {
		t.Helper()
		for _, target := range targets {
			tools[pen].do("open s inet6 stream 0")
			if got := tools[pen].do("use s connect " + target); got != want {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
			tools[pen].do("close s")
		}
	}
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	var many []netip.Prefix
	for i := range (MaxDenied - 4) / 2 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{45, byte(i >> 8), byte(i), 0}), 24))
		b := netip.MustParseAddr("2001:db8::").As16()
		b[4], b[5] = byte(i>>8), byte(i)
		many = append(many, netip.PrefixFrom(netip.AddrFrom16(b), 48))
	}
	must(t, pen.s.Deny(many))
	must(t, other.s.Deny(prefixes("0.0.0.0/0", "2000::/3")))
	denied := []string{"45.1.253.7:1", "[2001:db8:1fd::1]:1"}
	free := []string{"45.1.254.7:1", "[2001:db8:1fe::1]:1", "9.9.9.9:1", "[2001:abc::1]:1"}
	check(pen, "EACCES", denied...)
	check(pen, "ok", free...)
	check(other, "EACCES", append(denied, free...)...)
	must(t, pen.s.Deny(prefixes("::ffff:9.9.9.0/120", "2001:db8::1/16", "45.1.254.7/32", "::/2"))) // the last: no IPv4
	check(pen, "EACCES", append(denied, "45.1.254.7:1", "[2001:db8:1fe::1]:1", "9.9.9.9:1", "[2001:abc::1]:1")...)
	check(pen, "ok", "45.1.254.8:1", "8.8.8.8:1", "[4000::1]:1")
	if err := pen.s.Deny(prefixes("1.2.3.4/32", "1.2.3.5/32")); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := pen.s.Deny([]netip.Prefix{{}}); err == nil {
		t.Error("no prefix was taken for one")
	}
	// What was a session's is not the next one's of the same group.
	must(t, other.s.Close())
	if err := other.s.Deny(prefixes("1.2.3.4/32")); err == nil {
		t.Error("denied to a session that has ended")
	}
	again, err := r.p.AddSession(other.id)
	must(t, err)
	defer again.Close()
	tools[other].do("open s inet stream 0")
	if got := tools[other].do("use s connect 9.9.9.9:1"); got == "EACCES" {
		t.Error("it is denied to the next session too")
	}
	check(pen, "EACCES", denied...)
}
