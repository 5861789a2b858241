package dialguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
)

// inside is set in the copy of the test binary that has a network of its own.
const inside = "PENSTOCK_TEST_NETNS"

// ownNetwork runs the calling test again in a new user and network namespace
// and returns true there. Outside it reports what the copy said.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		if os.Getenv("CI") == "true" {
			t.Fatalf("no user namespaces: %v", err)
		}
		t.Skipf("no user namespaces: %v", err)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// network gives the namespace a public address of its own, and a range whose
// every address answers though none is an interface's.
func network(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(lo))
	addr, err := netlink.ParseAddr("8.8.4.4/32")
	must(err)
	must(netlink.AddrAdd(lo, addr))
	_, local, _ := net.ParseCIDR("198.51.100.0/24")
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: local, Type: syscall.RTN_LOCAL, Table: 255, Scope: netlink.SCOPE_HOST}))
}

// TestOwnAddress: a public address of the host itself is refused by what the
// kernel says, not by a table.
func TestOwnAddress(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	network(t)
	port, hits := listen(t, "8.8.4.4:0")
	z := serveDNS(t, fixed(map[string][]string{"me.example": {"8.8.4.4"}, "nat64.example": {"64:ff9b::808:404"}, "other.example": {"198.51.100.9"}}))
	g := &Guard{Resolver: z.resolver()}
	for _, target := range []hooks.Target{{Host: "me.example", Port: port}, {Host: "nat64.example", Port: port}, {Addr: netip.MustParseAddr("8.8.4.4"), Port: port}} {
		c, err := g.DialAllowed(t.Context(), target, nil)
		var r *RefusedError
		if c != nil || !errors.As(err, &r) || r.Class != ClassHost {
			t.Errorf("%s: %v", target, err)
		}
	}
	if hits() != 0 {
		t.Error("the host's own service was reached")
	}
	if c, err := g.DialAllowed(t.Context(), hooks.Target{Host: "me.example", Port: port}, prefixes("8.8.4.4/32")); err != nil {
		t.Errorf("with a rule: %v", err)
	} else {
		c.Close()
	}
	port, _ = listen(t, "198.51.100.9:0")
	if c, err := g.DialAllowed(t.Context(), hooks.Target{Host: "other.example", Port: port}, nil); err != nil {
		t.Errorf("another host: %v", err)
	} else {
		c.Close()
	}
}

// TestRebindingPublic: a name alternates between a public address and each kind
// of internal one, alone and mixed; nothing internal is ever connected to.
func TestRebindingPublic(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	network(t)
	port, _ := listen(t, "198.51.100.9:0")
	var internal []func() int
	for _, a := range []string{"127.0.0.1", "8.8.4.4", "[::1]"} {
		_, hits := listen(t, fmt.Sprintf("%s:%d", a, port))
		internal = append(internal, hits)
	}
	bad := []string{"127.0.0.1", "8.8.4.4", "10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"}
	z := serveDNS(t, func(_ string, v6 bool, n int) []netip.Addr {
		good, evil := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr(bad[n/3%len(bad)])
		switch {
		case v6 && n%3 == 1:
			return []netip.Addr{netip.IPv6Loopback()}
		case v6:
			return nil
		case n%3 == 0:
			return []netip.Addr{good}
		case n%3 == 1:
			return []netip.Addr{good, evil}
		default:
			return []netip.Addr{evil}
		}
	})
	g := &Guard{Resolver: z.resolver()}
	connected := 0
	for range 90 {
		c, err := g.DialAllowed(t.Context(), hooks.Target{Host: "rebind.example", Port: port}, nil)
		if err != nil {
			var r *RefusedError
			if !errors.As(err, &r) {
				t.Fatal(err)
			}
			continue
		}
		connected++
		if !strings.HasPrefix(c.RemoteAddr().String(), "198.51.100.9:") {
			t.Errorf("connected to %s", c.RemoteAddr())
		}
		c.Close()
	}
	if connected != 30 {
		t.Errorf("%d connected, want 30", connected)
	}
	for i, hits := range internal {
		if hits() != 0 {
			t.Errorf("internal service %d was reached", i)
		}
	}
}

// silent returns an address on which connections are neither taken nor refused:
// the queue of its listener is full, so that the kernel drops further SYNs.
func silent(t *testing.T, addr [4]byte, port uint16) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr, Port: int(port)}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", netip.AddrPortFrom(netip.AddrFrom4(addr), port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// Of a listener these fields are the queue's length and what it may be. With
	// the last part of the handshake on its way the connection is not in it yet.
	full := func() bool {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		return info.Unacked > info.Sacked
	}
	for deadline := time.Now().Add(10 * time.Second); !full(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the queue does not fill")
		}
	}
}

// TestHappyEyeballs: an address that swallows packets costs one stagger, and the
// losing attempts leave nothing behind.
func TestHappyEyeballs(t *testing.T) {
	port, _ := listen(t, "127.0.0.2:0")
	silent(t, [4]byte{127, 0, 0, 4}, port)
	g := &Guard{Own: noOwn, Resolver: answers{netip.MustParseAddr("127.0.0.4"), netip.MustParseAddr("127.0.0.2")}}
	before := runtime.NumGoroutine()
	for range 3 {
		start := time.Now()
		c, err := g.DialAllowed(t.Context(), hooks.Target{Host: "slow.example", Port: port}, prefixes("127.0.0.0/8"))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if d := time.Since(start); d < stagger/2 || d > attemptTimeout/2 {
			t.Errorf("took %v", d)
		}
	}
	// The losers are cancelled at once; wait for them by yielding.
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d", n, before)
	}
}

// answers is a resolver that keeps the order of its answer.
type answers []netip.Addr

func (a answers) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return slices.Clone(a), nil
}
