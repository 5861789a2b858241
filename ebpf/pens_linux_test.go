package ebpf

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFlows: whatever way a connection is made, it ends at our listener, with
// the address that it was made to, and it is known who made it.
func TestFlows(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	tool := start(t, pen.cgroup, pen.net, "an argument", "")
	pid := tool.cmd.Process.Pid
	for _, c := range []struct{ name, open, target, how string }{
		{"tcp4", "inet stream 0", "93.184.216.34:443", "use s connect "},
		{"private", "inet stream 0", "10.0.0.1:22", "use s connect "},
		{"metadata", "inet stream 0", "169.254.169.254:80", "use s connect "},
		{"tcp6", "inet6 stream 0", "[2606:2800:220:1::1]:443", "use s connect "},
		{"mapped", "inet6 stream 0", "1.2.3.4:80", "use s connect "},
		{"mptcp4", "inet stream mptcp", "1.2.3.4:80", "use s connect "},
		{"mptcp6", "inet6 stream mptcp", "[2001:db8::7]:80", "use s connect "},
		{"port 808 elsewhere", "inet stream 0", "1.2.3.4:808", "use s connect "},
		{"port 1 elsewhere", "inet stream 0", "1.2.3.4:1", "use s connect "},
		{"fast open", "inet stream 0", "1.2.3.4:80", "fastopen s "},
		{"fast open 6", "inet6 stream 0", "[2001:db8::8]:80", "fastopen s "},
		{"fast open mptcp", "inet stream mptcp", "1.2.3.5:80", "fastopen s "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tool.do("open s " + c.open); got != "ok" {
				t.Fatal(got)
			}
			if got := tool.do(c.how + c.target); got != "ok" {
				t.Fatal(got)
			}
			local := tool.do("local s")
			conn := <-pen.accepted
			defer conn.Close()
			if got := conn.LocalAddr().String(); got != c.target {
				t.Errorf("arrived as for %s", got)
			}
			if got := conn.RemoteAddr().String(); got != local {
				t.Errorf("came from %s, the tool says %s", got, local)
			}
			who := pen.watcher.Who(t.Context(), conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort())
			if who == nil {
				t.Fatal("not known who it was")
			}
			exe, err := os.Executable()
			must(t, err)
			var st unix.Stat_t
			must(t, unix.Stat(exe, &st))
			if who.PID != pid || who.TID == 0 || who.UID != os.Getuid() || who.Start == 0 || who.Cgroup != "s1" ||
				who.Exe.Path != exe || who.Exe.Dev != st.Dev || who.Exe.Ino != st.Ino ||
				len(who.Args) != 4 || who.Args[2] != "an argument" || who.Args[3] != "" {
				t.Errorf("it was %+v; want pid %d and %s, %d:%d", who, pid, exe, st.Dev, st.Ino)
			}
			if again := pen.watcher.Who(t.Context(), conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort()); again != nil {
				t.Error("a connection was there twice")
			}
			if got := tool.do("close s"); got != "ok" {
				t.Error(got)
			}
		})
	}
	c, err := pen.s.Counters()
	must(t, err)
	if c.Flows != 12 || c.Lost != 0 || c.Denied != 0 || c.UpPackets == 0 || c.DownPackets == 0 || c.UpBytes == 0 {
		t.Errorf("counted %+v", c)
	}
	if n := pen.watcher.Lost(); n != 0 {
		t.Errorf("%d lost", n)
	}
}

// TestVerdicts: what is refused, with which error, and what is not.
func TestVerdicts(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	must(t, pen.s.Deny([]netip.Prefix{
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:bad::/48"), netip.MustParsePrefix("127.0.0.0/8"),
	}))
	tool := start(t, pen.cgroup, pen.net)
	pen.listen("0.0.0.0", 8080) // stands for a server of the tool's
	for i, c := range []struct{ open, do, want string }{
		{"inet stream 0", "use s connect 203.0.113.9:80", "EACCES"},
		{"inet6 stream 0", "use s connect 203.0.113.9:80", "EACCES"}, // v4-mapped
		{"inet6 stream 0", "use s connect [2001:db8:bad::1]:80", "EACCES"},
		{"inet stream mptcp", "use s connect 203.0.113.9:80", "EACCES"},
		{"inet stream 0", "fastopen s 203.0.113.9:80", "EACCES"},
		// Our resolver, whatever address it is asked at.
		{"inet stream 0", "use s connect 203.0.113.9:53", "ECONNREFUSED"}, // there is none here
		{"inet dgram 0", "use s connect 203.0.113.9:53", "ok"},
		{"inet dgram 0", "use s send 203.0.113.9:53", "ok"},
		{"inet6 dgram 0", "use s send [2001:db8:bad::1]:53", "ok"},
		{"inet dgram 0", "use s connect 203.0.113.9:80", "ok"}, // sends nothing
		{"inet dgram 0", "use s send 203.0.113.9:80", "EACCES"},
		{"inet stream 0", "use s connect 203.0.114.1:80", "ok"},
		// Loopback is the tool's own, whatever is denied.
		{"inet stream 0", "use s connect 127.0.0.1:8080", "ok"},
		{"inet stream 0", "use s connect 127.1.2.3:8080", "ok"},
		{"inet stream 0", "use s connect 0.0.0.0:8080", "ok"},
		{"inet stream 0", "use s connect 192.0.0.8:8080", "ok"},
		{"inet stream 0", "use s connect 127.0.0.1:8081", "ECONNREFUSED"},
		{"inet6 stream 0", "use s connect [::1]:8081", "ECONNREFUSED"},
		{"inet6 stream 0", "use s connect [fd70:656e:7374:6f63::1]:8081", "ECONNREFUSED"},
		{"inet stream 0", "use s connect 127.0.0.1:1", "ECONNREFUSED"},
		{"inet6 stream 0", "use s connect [::1]:1", "ECONNREFUSED"},
		{"inet6 stream 0", "use s connect 127.0.0.1:1", "ECONNREFUSED"},
		// Datagrams: connecting is asking for a route.
		{"inet dgram 0", "use s connect 8.8.8.8:443", "ok"},
		{"inet6 dgram 0", "use s connect [2001:4860:4860::8888]:443", "ok"},
		{"inet dgram 0", "use s send 8.8.8.8:443", "EACCES"},
		{"inet6 dgram 0", "use s send [2001:4860:4860::8888]:443", "EACCES"},
		{"inet6 dgram 0", "use s send 8.8.8.8:443", "EACCES"},
		{"inet dgram 0", "use s send 224.0.0.251:53", "EACCES"},
		{"inet dgram 0", "use s send 224.0.0.251:5353", "EACCES"},
		{"inet6 dgram 0", "use s send [ff02::1]:53", "EACCES"},
		{"inet dgram 0", "use s send 8.8.8.8:53", "ok"},
		{"inet6 dgram 0", "use s send [2001:4860:4860::8888]:53", "ok"},
		{"inet dgram 0", "use s send 127.0.0.1:443", "ok"},
		{"inet6 dgram 0", "use s send [::1]:443", "ok"},
		{"inet dgram 0", "use s send 192.0.0.8:9", "ok"},
		{"inet dgram 0", "use s send 0.0.0.0:9", "ok"},
		// Our ports.
		{"inet stream 0", "bind s 0.0.0.0:53", "EACCES"},
		{"inet6 dgram 0", "bind s [::]:53", "EACCES"},
		{"inet stream 0", "bind s 127.0.0.1:808", "EACCES"},
		{"inet stream 0", "bind s 1.2.3.4:1", "EACCES"},
		{"inet stream 0", "bind s 127.0.0.1:0", "ok"},
		// A server of the tool's while it has a connection to that port elsewhere.
		{"inet stream 0", "bind s 127.0.0.1:80", "ok"},
		{"inet stream 0", "rebind s 0.0.0.0:80", "ok"},
	} {
		if got := tool.do("open s " + c.open); got != "ok" {
			t.Fatal(got)
		}
		if got := tool.do(c.do); got != c.want {
			t.Errorf("%d: %s: %s: %s, want %s", i, c.open, c.do, got, c.want)
		}
		tool.do("close s")
	}
	for _, c := range []struct{ do, want string }{
		{"socket inet raw 1", "EPERM"}, {"socket inet raw 255", "EPERM"}, {"socket inet6 raw 58", "EPERM"},
		{"socket inet dgram 1", "EPERM"},    // ping
		{"socket inet dgram 136", "EPERM"},  // UDP-Lite
		{"socket inet stream 132", "EPERM"}, // SCTP
		{"socket inet stream 6", "ok"}, {"socket inet dgram 17", "ok"}, {"socket inet stream mptcp", "ok"}, {"socket inet6 stream 0", "ok"},
	} {
		got := tool.do(c.do)
		if got == "EACCES" || got == "EPROTONOSUPPORT" {
			t.Logf("%s: the kernel itself says %s", c.do, got)
			continue
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.do, got, c.want)
		}
	}
	// A connected datagram socket passes connect and sendmsg; egress has it.
	tool.do("open s inet dgram 0")
	tool.do("use s connect 8.8.8.8:443")
	if got := tool.do("use s write 8.8.8.8:443"); got != "EPERM" {
		t.Errorf("write to a connected datagram socket: %s", got)
	}
	tool.do("close s")
	tool.do("open s inet6 dgram 0")
	tool.do("use s connect [2001:4860:4860::8888]:443")
	if got := tool.do("use s write [::]:443"); got != "EPERM" {
		t.Errorf("write to a connected datagram socket: %s", got)
	}
	c, err := pen.s.Counters()
	must(t, err)
	if c.Denied == 0 || c.Lost != 0 {
		t.Errorf("counted %+v", c)
	}
	for seen := uint64(0); seen < c.Denied; {
		if e := <-pen.notices; e.Why != 0 {
			seen++
			if e.ID.PID != tool.cmd.Process.Pid && e.ID.PID != 0 {
				t.Errorf("refused somebody else: %+v", e)
			}
		}
	}
	// Processes outside a session are nobody's business.
	outside, _ := r.group(r.pens, "outside")
	free := start(t, outside, pen.net)
	free.do("open s inet stream 0")
	if got := free.do("use s connect 203.0.113.9:80"); got != "ok" {
		t.Errorf("outside of a session: %s", got)
	}
}
