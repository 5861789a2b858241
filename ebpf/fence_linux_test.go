package ebpf

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
)

// realPen starts the tool in a pen that netns builds, with the fence's rules.
func realPen(t *testing.T, o netns.Options) (*tool, *netns.Building, *netns.Sockets) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	stdin, in, err := os.Pipe()
	must(t, err)
	out, stdout, err := os.Pipe()
	must(t, err)
	b, err := netns.Start(exe, &sandbox.Command{Path: exe, Argv: []string{exe, toolRole}}, [3]*os.File{stdin, stdout, os.Stderr}, o)
	must(t, err)
	stdin.Close()
	stdout.Close()
	t.Cleanup(func() { in.Close(); b.Close(); out.Close() })
	s, err := b.Sockets(t.Context())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return &tool{t: t, in: in, out: bufio.NewReader(out)}, b, s
}

// TestSameAsFence: what the rules of a pen without privilege refuse is refused
// in a session, and nothing else.
func TestSameAsFence(t *testing.T) {
	r := newRig(t)
	reference, _, _ := realPen(t, netns.Options{})
	group, id := r.group(r.pens, "s1")
	s, err := r.p.AddSession(id)
	must(t, err)
	session, building, sockets := realPen(t, netns.Options{Steered: true, Cgroup: group})
	ns, err := os.Open(filepath.Join("/proc", strconv.Itoa(building.Process().Pid), "ns", "net"))
	must(t, err)
	defer ns.Close()
	must(t, s.Steer(ns, sockets.Capture4, sockets.Capture6))

	addresses := []string{"127.0.0.1", "127.9.9.9", "0.0.0.0", "192.0.0.8", "1.2.3.4", "10.0.0.1", "169.254.169.254", "198.18.0.1", "240.0.0.1",
		"224.0.0.251", "239.255.255.250", "255.255.255.255",
		"::1", "::", "fd70:656e:7374:6f63::1", "2001:db8::1", "fd00::1", "64:ff9b::1", "ff0e::1", "::ffff:1.2.3.4", "::ffff:127.0.0.1", "::ffff:224.0.0.1"}
	compared, refused := 0, 0
	for _, address := range addresses {
		for _, port := range []int{1, 53, 80, 443, 808, 5353} {
			for _, open := range []string{"inet stream 0", "inet stream mptcp", "inet6 stream 0", "inet dgram 0", "inet6 dgram 0"} {
				if a := netip.MustParseAddr(address); open[:5] != "inet6" && !a.Is4() {
					continue
				}
				target := fmt.Sprintf("%s:%d", address, port)
				if netip.MustParseAddr(address).Is6() {
					target = fmt.Sprintf("[%s]:%d", address, port)
				}
				for _, do := range []string{"use s connect " + target, "use s send " + target, "fastopen s " + target, "connected"} {
					datagram := open[len(open)-7:] == "dgram 0"
					if (do[0] == 'f' && datagram) || (do[:5] == "use s" && do[6] == 's' && !datagram) || (do == "connected" && !datagram) {
						continue
					}
					run := func(p *tool) string {
						if got := p.do("open s " + open); got != "ok" {
							t.Fatalf("%s: %s", open, got)
						}
						defer p.do("close s")
						if do != "connected" {
							return p.do(do)
						}
						if got := p.do("use s connect " + target); got != "ok" {
							return "connect: " + got
						}
						return p.do("use s write " + target)
					}
					want, got := run(reference), run(session)
					compared++
					if want != "ok" {
						refused++
					}
					if (want == "ok") != (got == "ok") {
						t.Errorf("%s, %s %s: a session says %s, the fence %s", open, do, target, got, want)
					}
				}
			}
		}
	}
	if compared < 500 || refused < 100 || refused > compared-100 {
		t.Errorf("compared %d, of which %d are refused", compared, refused)
	}
}
