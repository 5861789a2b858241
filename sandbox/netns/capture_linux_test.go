package netns

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestEveryConnectIsCaptured holds for the tool as it is, and for root of the
// pen's namespace.
func TestEveryConnectIsCaptured(t *testing.T) {
	steps := []step{
		{"tcp 93.184.216.34:443", "captured 93.184.216.34:443"},
		{"tcp 93.184.216.34:1", "captured 93.184.216.34:1"},
		{"tcp 93.184.216.34:808", "captured 93.184.216.34:808"},
		{"tcp 93.184.216.34:65535", "captured 93.184.216.34:65535"},
		{"tcp 8.8.8.8:853", "captured 8.8.8.8:853"},
		{"tcp 10.1.2.3:22", "captured 10.1.2.3:22"},
		{"tcp 192.168.0.1:80", "captured 192.168.0.1:80"},
		{"tcp 169.254.169.254:80", "captured 169.254.169.254:80"},
		{"tcp 198.18.0.1:5432", "captured 198.18.0.1:5432"},
		{"tcp 100.64.0.1:80", "captured 100.64.0.1:80"},
		{"tcp 240.0.0.1:80", "captured 240.0.0.1:80"},
		{"tcp 0.1.2.3:80", "captured 0.1.2.3:80"},
		{"tcp [2606:2800:220:1:248:1893:25c8:1946]:443", "captured [2606:2800:220:1:248:1893:25c8:1946]:443"},
		{"tcp [fd00:ec2::254]:80", "captured [fd00:ec2::254]:80"},
		{"tcp [64:ff9b::a9fe:a9fe]:80", "captured [64:ff9b::a9fe:a9fe]:80"},
		{"tcp [2002:7f00:1::]:80", "captured [2002:7f00:1::]:80"},
		{"tcp [::127.0.0.1]:80", "captured [::7f00:1]:80"},
		{"tcp 93.184.216.34:443 mapped", "captured 93.184.216.34:443"},
		{"tcp 169.254.169.254:80 mapped", "captured 169.254.169.254:80"},
		{"tcp 93.184.216.34:443 mptcp", "captured 93.184.216.34:443"},
		{"tcp [2606:2800::1]:443 mptcp", "captured [2606:2800::1]:443"},
		{"tcp 93.184.216.34:443 fastopen", "captured 93.184.216.34:443"},
		{"tcp [2606:2800::1]:443 fastopen", "captured [2606:2800::1]:443"},
		{"tcp 93.184.216.34:443 bind=127.0.0.1", "captured 93.184.216.34:443"},
		{"tcp 93.184.216.34:443 bind=93.184.216.34", "captured 93.184.216.34:443"},
		{"tcp 93.184.216.34:443 bind=1.2.3.4", "captured 93.184.216.34:443"},
		{"tcp [2606:2800::1]:443 bind=::1", "captured [2606:2800::1]:443"},
		{"tcp 93.184.216.34:443 device", "captured 93.184.216.34:443"},
		{"tcp [2606:2800::1]:443 device", "captured [2606:2800::1]:443"},
		{"squat 93.184.216.34:8443", "captured 93.184.216.34:8443"},
		{"squat 10.0.0.1:2222", "captured 10.0.0.1:2222"},
		{"tcp 224.0.0.1:80", "EINVAL|ENETUNREACH|EPERM|ECONNREFUSED"},
		{"tcp 255.255.255.255:80", "EINVAL|ENETUNREACH|EPERM|ECONNREFUSED|EACCES"},
		{"tcp [ff02::1]:80", "ENETUNREACH|EPERM|ECONNREFUSED|EINVAL"},
		{"tcp [fe80::1]:80", "EINVAL|captured*"}, // link-local without a zone
	}
	for name, command := range commands() {
		t.Run(name, func(t *testing.T) { runSteps(t, command, steps) })
	}
}

// TestOurPorts: nobody reaches the capture port but by redirection, nobody can
// take one of our ports, and the explicit proxy and DNS are there.
func TestOurPorts(t *testing.T) {
	runSteps(t, inside, []step{
		{"tcp 127.0.0.1:1", "ECONNREFUSED|EPERM"},
		{"tcp [::1]:1", "ECONNREFUSED|EPERM"},
		{"tcp 127.0.0.2:1", "ECONNREFUSED|EPERM"},
		{"tcp 127.0.0.1:1 mapped", "ECONNREFUSED|EPERM"},
		{"tcp 127.0.0.1:1 bind=93.184.216.34", "ECONNREFUSED|EPERM"},
		{"tcp 0.0.0.0:1", "ECONNREFUSED|EPERM"},
		{"tcp 127.0.0.1:808", "proxy"},
		{"tcp [::1]:808", "proxy"},
		{"listen 127.0.0.1:1", "EACCES"},
		{"listen 127.0.0.1:808", "EACCES"},
		{"listen 0.0.0.0:53", "EACCES"},
		{"listen 93.184.216.34:443", "EACCES"},
		{"listen [::]:808", "EACCES"},
		{"listen 0.0.0.0:8080", "ok"},
	})
}

// TestOwnLoopback: the tool's servers on loopback stay its own, any protocol.
func TestOwnLoopback(t *testing.T) {
	runSteps(t, inside, []step{
		{"own 127.0.0.1", "ping"},
		{"own 127.0.0.53", "ping"},
		{"own 127.9.9.9", "ping"},
		{"own ::1", "ping"},
		{"own 192.0.0.8", "ping"},
		{"own fd70:656e:7374:6f63::1", "ping"},
		{"source 8.8.8.8:443", "192.0.0.8"},
		{"source [2606:2800::1]:443", "fd70:656e:7374:6f63::1"},
		{"tcp 192.0.0.8:4444", "ECONNREFUSED"},
		{"tcp 192.0.0.8:1", "ECONNREFUSED|EPERM"},
		{"tcp [fd70:656e:7374:6f63::1]:1", "ECONNREFUSED|EPERM"},
		{"tcp 127.0.0.1:4444", "ECONNREFUSED"},
		{"tcp [::1]:4444", "ECONNREFUSED"},
		{"udp 127.0.0.1:4444 connected", "ECONNREFUSED"},
		{"udp [::1]:4444 connected", "ECONNREFUSED"},
	})
}

// TestOtherProtocolsAreRefused: at once, and told by Drops.
func TestOtherProtocolsAreRefused(t *testing.T) {
	const refused = "EPERM|ECONNREFUSED"
	p := runSteps(t, inside, []step{
		{"udp 93.184.216.34:443", refused},
		{"udp 93.184.216.34:443 connected", refused},
		{"udp 169.254.169.254:80", refused},
		{"udp [2606:2800::1]:443", refused},
		{"udp [2606:2800::1]:443 connected", refused},
		{"udp 93.184.216.34:4433 mapped", refused},
		{"udp 93.184.216.34:4433 device", refused},
		{"udp [2606:2800::1]:4433 device", refused},
		{"udp 93.184.216.34:4433 lite", refused + "|EPROTONOSUPPORT|ESOCKTNOSUPPORT"},
		{"udp 224.0.0.251:5353", refused + "|ENETUNREACH"},
		{"udp 224.0.0.251:53", refused + "|ENETUNREACH"},
		{"udp 255.255.255.255:67", refused + "|ENETUNREACH"},
		{"udp 255.255.255.255:53", refused + "|ENETUNREACH"},
		{"udp [ff02::fb]:5353", refused + "|ENETUNREACH|EINVAL"},
		{"udp 8.8.8.8:5353", refused},
		{"udp 8.8.8.8:54", refused},
		{"socket 2 3 1", "EPERM"},                                  // raw ICMP
		{"socket 10 3 58", "EPERM"},                                // raw ICMPv6
		{"socket 2 3 255", "EPERM"},                                // raw IP
		{"socket 2 2 1", "EACCES|EPERM"},                           // ping socket
		{"socket 17 3 768", "EPERM|EAFNOSUPPORT"},                  // packet
		{"socket 44 3 0", "EPERM|EAFNOSUPPORT|ok"},                 // XDP: seccomp's job, it has no link to bind to
		{"socket 2 1 132", "EPERM|EPROTONOSUPPORT"},                // SCTP
		{"socket 2 6 33", "EPERM|EPROTONOSUPPORT|ESOCKTNOSUPPORT"}, // DCCP
	})
	sum, lost := drain(t, p.Sockets, func(sum map[string]uint64, _ uint64) bool { return sum["17/8.8.8.8:54"] > 0 })
	if lost != 0 {
		t.Errorf("lost %d", lost)
	}
	for dst, want := range map[string]uint64{
		"17/93.184.216.34:443": 2, "17/169.254.169.254:80": 1, "17/[2606:2800::1]:443": 2,
		"17/224.0.0.251:5353": 1, "17/224.0.0.251:53": 1, "17/8.8.8.8:5353": 1, "17/8.8.8.8:54": 1,
	} {
		if sum[dst] != want {
			t.Errorf("%s: reported %d times, want %d; all: %v", dst, sum[dst], want, sum)
		}
	}
}

// TestRawPacketsAreRefused needs what no tool has: raw sockets in the namespace.
func TestRawPacketsAreRefused(t *testing.T) {
	p := runSteps(t, builder, []step{
		{"raw 1 93.184.216.34", "EPERM"},
		{"raw 58 2606:2800::1", "EPERM"},
		{"raw 132 93.184.216.34", "EPERM"},
		{"raw 33 93.184.216.34", "EPERM"},
		{"raw 136 2606:2800::1", "EPERM"},
		{"raw 47 93.184.216.34", "EPERM"},
		{"raw 50 2606:2800::1", "EPERM"},
		{"raw 1 127.0.0.1", "sent"},
	})
	sum, _ := drain(t, p.Sockets, func(sum map[string]uint64, _ uint64) bool { return sum["50/[2606:2800::1]:0"] > 0 })
	for _, dst := range []string{"1/93.184.216.34:0", "58/[2606:2800::1]:0", "132/93.184.216.34:9999", "33/93.184.216.34:9999", "136/[2606:2800::1]:9999", "47/93.184.216.34:0"} {
		if sum[dst] != 1 {
			t.Errorf("%s: reported %d times; all: %v", dst, sum[dst], sum)
		}
	}
}

// TestDropsAreReadToTheEnd: what was refused last, just before the session
// ends, is told as well.
func TestDropsAreReadToTheEnd(t *testing.T) {
	p := runSteps(t, inside, []step{{"udp 8.8.8.8:1001", "EPERM"}, {"udp 8.8.8.8:1002", "EPERM"}, {"flood 8.8.8.8:1003 20", "sent"}})
	d, err := p.Sockets.DropReader()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	sum := map[string]uint64{}
	for first := true; ; first = false {
		drops, lost, err := d.Read()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			break
		}
		if lost != 0 {
			t.Errorf("lost %d", lost)
		}
		for _, r := range drops {
			sum[dropName(r)] += r.Count
		}
		if first { // while the next Read pauses or waits
			go func() { closed <- d.Close() }()
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error("second Close:", err)
	}
	if sum["17/8.8.8.8:1001"] != 1 || sum["17/8.8.8.8:1002"] != 1 || sum["17/8.8.8.8:1003"] != 20 {
		t.Errorf("%v", sum)
	}
}

// TestDropsAreBounded floods and checks that nothing is uncounted.
func TestDropsAreBounded(t *testing.T) {
	const count = 50000
	p := runSteps(t, inside, []step{{"flood 93.184.216.34:443 50000", "sent"}, {"udp 8.8.8.8:9", "EPERM"}})
	// The kernel's buffer was full when the last one came, so one more report
	// must carry the count: made below by nobody, read from what is buffered.
	sum, lost := drain(t, p.Sockets, func(sum map[string]uint64, lost uint64) bool { return sum["17/93.184.216.34:443"] > 0 })
	t.Logf("%d of %d reported singly, lost %d so far", sum["17/93.184.216.34:443"], count, lost)
	if got := sum["17/93.184.216.34:443"] + lost; got > count+1 {
		t.Errorf("%d reported and %d lost of %d", sum["17/93.184.216.34:443"], lost, count)
	}
}

// TestDNSReachesUs whatever server the tool names, and the answer's source is
// that server.
func TestDNSReachesUs(t *testing.T) {
	var steps []step
	for _, server := range []string{"8.8.8.8:53", "127.0.0.53:53", "127.0.0.1:53", "10.0.0.1:53", "169.254.169.253:53", "198.18.0.1:53",
		"[2001:4860:4860::8888]:53", "[::1]:53", "[fd00:ec2::253]:53"} {
		for _, how := range []string{"udp", "connected", "tcp"} {
			steps = append(steps, step{"dns " + server + " " + how + " api.example.com", ""})
		}
	}
	var do []string
	for _, s := range steps {
		do = append(do, s.do)
	}
	p := openPen(t, Options{}, inside(t, do...))
	want, err := p.Names.Address("api.example.com", false)
	if err != nil {
		t.Fatal(err)
	}
	lines := p.result(t)
	for i, line := range lines {
		steps[i].want = want.String()
		steps[i].check(t, line)
	}
	if len(lines) != len(steps) {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}

// TestManyConnections makes more connections to one place than there are ports:
// what closed ones hold must be free again in time, here and in conntrack.
func TestManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	p := openPen(t, Options{}, inside(t, "many 93.184.216.34:443 40000"))
	begin := time.Now()
	if got := p.result(t)[0]; got != "connected" {
		t.Error(got)
	}
	t.Logf("%.0f connections a second", 40000/time.Since(begin).Seconds())
}
