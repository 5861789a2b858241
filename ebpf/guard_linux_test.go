package ebpf

import (
	"net/netip"
	"testing"
)

// TestGuard: whatever runs in a proxy, the host's own services are out of reach.
// The proxy here is in a namespace where every address answers, so that what is
// not refused is connected.
func TestGuard(t *testing.T) {
	r := newRig(t)
	must(t, r.p.SetDenied([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}))
	group, id := r.group(r.proxies, "slot1")
	slot, err := r.p.AddSlot(id, []Allowed{
		{netip.MustParsePrefix("127.0.0.53/32"), 53},
		{netip.MustParsePrefix("10.1.0.0/16"), 443},
		{netip.MustParsePrefix("192.168.1.1/32"), 0},
		{netip.MustParsePrefix("fd00::5/128"), 8443},
		{netip.MustParsePrefix("203.0.113.7/32"), 443},
	})
	must(t, err)
	other, otherID := r.group(r.proxies, "slot2")
	_, err = r.p.AddSlot(otherID, nil)
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
		{"8.8.8.8:443", "pass"}, {"203.0.113.8:443", "EACCES"}, {"203.0.113.7:443", "pass"},
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
		if got := second.do("use s connect " + target); got != "EACCES" {
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

// TestDenied: 10,000 addresses come and go.
func TestDenied(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	tool := start(t, pen.cgroup, pen.net)
	try := func(target string) string {
		tool.do("open s inet6 dgram 0")
		defer tool.do("close s")
		return tool.do("use s connect " + target)
	}
	var many []netip.Prefix
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{45, byte(i >> 8), byte(i), 0})
		many = append(many, netip.PrefixFrom(a, 24))
		b := netip.MustParseAddr("2001:db8::").As16()
		b[4], b[5] = byte(i>>8), byte(i)
		many = append(many, netip.PrefixFrom(netip.AddrFrom16(b), 48))
	}
	must(t, r.p.SetDenied(many))
	for _, c := range []struct{ target, want string }{
		{"45.39.15.7:1", "EACCES"}, {"45.39.16.7:1", "ok"}, {"[2001:db8:270f::1]:1", "EACCES"}, {"[2001:db8:2710::1]:1", "ok"},
	} {
		if got := try(c.target); got != c.want {
			t.Errorf("%s: %s, want %s", c.target, got, c.want)
		}
	}
	must(t, r.p.SetDenied(append(many[:10:10], netip.MustParsePrefix("::ffff:9.9.9.0/120"), netip.MustParsePrefix("2001:db8::1/16"))))
	for _, c := range []struct{ target, want string }{
		{"45.39.15.7:1", "ok"}, {"45.0.0.7:1", "EACCES"}, {"9.9.9.9:1", "EACCES"}, {"[2001:abc::1]:1", "EACCES"}, {"[2002::1]:1", "ok"},
	} {
		if got := try(c.target); got != c.want {
			t.Errorf("%s: %s, want %s", c.target, got, c.want)
		}
	}
	must(t, r.p.SetDenied(nil))
	if got := try("9.9.9.9:1"); got != "ok" {
		t.Error(got)
	}
	if err := r.p.SetDenied([]netip.Prefix{{}}); err == nil {
		t.Error("no prefix was taken for one")
	}
}
