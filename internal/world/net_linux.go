package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of the rig. H and W are joined by one link; everything else is W's.
var (
	linkH4 = netip.MustParsePrefix("192.0.2.2/24")
	linkW4 = netip.MustParsePrefix("192.0.2.1/24")
	linkH6 = netip.MustParsePrefix("2001:db8:76::2/64")
	linkW6 = netip.MustParsePrefix("2001:db8:76::1/64")

	// public4 and public6 are where origins live.
	public4 = netip.MustParsePrefix("203.0.113.0/24")
	extra4  = netip.MustParsePrefix("198.51.100.0/24")
	public6 = netip.MustParsePrefix("2001:db8:77::/64")
	// private4 is where a company's inner servers live.
	private4 = netip.MustParsePrefix("10.66.0.0/24")
	resolver = netip.MustParseAddr("203.0.113.53")
	// Metadata is the cloud metadata address; W answers there too.
	metadata = netip.MustParseAddr("169.254.169.254")
)

// UserID is the ordinary user that commands run as when the tests run as root.
// It has a passwd entry, "penworld", in the rig only.
const UserID = 61234

// OtherUserID is another ordinary user, "penother", who is in penworld's group and
// so may use his supervisor.
const OtherUserID = UserID + 1

// network is the pair of namespaces. The process is in H; one thread is in W.
type network struct {
	inW  chan func() // served by the thread that lives in W
	done chan struct{}
	dir  string
	ipv6 bool

	ca      *authority
	dns     *dnsServer
	sniffer *sniffer

	mu      sync.Mutex
	nextPub int
	nextPri int
}

func build() (*network, error) {
	dir, err := os.MkdirTemp("", "penstock-world-")
	if err != nil {
		return nil, fmt.Errorf("make rig directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	n := &network{inW: make(chan func()), done: make(chan struct{}), dir: dir, nextPub: 1, nextPri: 1}
	if err := n.mounts(); err != nil {
		return nil, err
	}
	nsW := make(chan int, 1)
	fail := make(chan error, 1)
	go n.threadW(nsW, fail)
	select {
	case err := <-fail:
		return nil, err
	case fd := <-nsW:
		err := n.links(fd)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
	}
	if n.ca, err = newAuthority(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), n.ca.pem, 0o644); err != nil {
		return nil, err
	}
	if n.sniffer, err = startSniffer(n); err != nil {
		return nil, err
	}
	if n.dns, err = startDNS(n); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *network) close() {
	if n == nil {
		return
	}
	close(n.done)
	os.RemoveAll(n.dir)
}

// threadW enters a new network namespace and runs functions there. The thread
// is never unlocked: it dies with the process, and so do its children that
// asked for a parent-death signal, not earlier.
func (n *network) threadW(ns chan<- int, fail chan<- error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		fail <- fmt.Errorf("make namespace W: %w", err)
		return
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fail <- fmt.Errorf("open namespace W: %w", err)
		return
	}
	ns <- fd
	for {
		select {
		case f := <-n.inW:
			f()
		case <-n.done:
			return
		}
	}
}

// outside runs f on the thread in W and waits for it.
func (n *network) outside(f func() error) error {
	result := make(chan error, 1)
	n.inW <- func() { result <- f() }
	return <-result
}

// links joins H and W. It runs in H, except for the part of W's end.
func (n *network) links(nsW int) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "h0", MTU: 1500},
		PeerName:      "w0",
		PeerNamespace: netlink.NsFd(nsW),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	n.ipv6 = err == nil
	if n.ipv6 {
		if b, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6"); err == nil && strings.TrimSpace(string(b)) == "1" {
			n.ipv6 = false
		}
	}
	if err := n.end("h0", linkH4, linkH6, linkW4.Addr(), linkW6.Addr()); err != nil {
		return err
	}
	return n.outside(func() error {
		if err := n.end("w0", linkW4, linkW6, netip.Addr{}, netip.Addr{}); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo of W: %w", err)
		}
		// W is the whole internet: whatever address a packet is for, it is for W
		// (AnyIP). Without a listener the answer is a reset.
		all := []string{"0.0.0.0/0"}
		if n.ipv6 {
			all = append(all, "::/0")
		}
		for _, cidr := range all {
			_, dst, _ := net.ParseCIDR(cidr)
			r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}
			if dst.IP.To4() == nil {
				// IPv6 asks the local table before the main one whatever the
				// prefix length, and would keep the answers to H for itself.
				r.Table = unix.RT_TABLE_MAIN
			}
			if err := netlink.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("route %s to W itself: %w", cidr, err)
			}
		}
		return nil
	})
}

// end sets one end of the link up, with a default route where a gateway is given.
func (n *network) end(name string, a4, a6 netip.Prefix, gw4, gw6 netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	if err := addAddress(l, a4); err != nil {
		return err
	}
	if n.ipv6 {
		if err := addAddress(l, a6); err != nil {
			return err
		}
	}
	if !gw4.IsValid() {
		return nil
	}
	gateways := []netip.Addr{gw4}
	if n.ipv6 {
		gateways = append(gateways, gw6)
	}
	for _, gw := range gateways {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("add default route by %s: %w", gw, err)
		}
	}
	return nil
}

func addAddress(l netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // usable at once: nobody else is on the link
	}
	if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s: %w", p, err)
	}
	return nil
}

// hold makes W own an address as its own, so that a listener can bind to it
// (for IPv6 AnyIP is not enough).
func (n *network) hold(addr netip.Addr) error {
	return n.outside(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return addAddress(lo, netip.PrefixFrom(addr, addr.BitLen()))
	})
}

// mounts makes the mount namespace private and gives H the rig's resolver and a
// passwd entry for the ordinary user. What the machine has is not changed.
func (n *network) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return err
	}
	entry := fmt.Sprintf("penworld:x:%d:%d::%s:/bin/sh\npenother:x:%d:%d::%s:/bin/sh\n", UserID, UserID, n.dir, OtherUserID, OtherUserID, n.dir)
	files := map[string]string{
		"/etc/resolv.conf": "nameserver " + resolver.String() + "\noptions timeout:2 attempts:2\n",
		"/etc/hosts":       "127.0.0.1 localhost\n::1 localhost\n",
		// Without this a machine's own choice (mdns, systemd's resolver by
		// D-Bus) would answer instead of the rig.
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"/etc/passwd":        string(passwd) + entry,
		"/etc/group":         string(group) + fmt.Sprintf("penworld:x:%d:penother\npenother:x:%d:\n", UserID, OtherUserID),
	}
	for target, content := range files {
		source := filepath.Join(n.dir, filepath.Base(target))
		if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
			return err
		}
		real, err := filepath.EvalSymlinks(target)
		if err != nil {
			continue // not on this machine
		}
		if err := unix.Mount(source, real, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", target, err)
		}
	}
	return nil
}
