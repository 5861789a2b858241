package netns

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// raiseLoopback brings lo up and makes every address local to it.
//
// A route of type local says "this address is mine": a listener bound to the
// wildcard answers for it and a packet to it never looks for a neighbour or a
// link. It goes into table local (255) because the kernel asks only that table
// whether an address may be used as a source (__ip_dev_find), which the
// resolver's answers need.
func raiseLoopback(ipv6 bool) error {
	const lo = 1 // LOOPBACK_IFINDEX, fixed in the kernel
	fd, err := netlinkSocket(unix.NETLINK_ROUTE, StepLink)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	var b batch
	b.begin(StepLink, unix.RTM_NEWLINK, 0)
	// struct ifinfomsg: family, pad, type, index, flags, change mask
	b.buf = append(b.buf, unix.AF_UNSPEC, 0, 0, 0)
	b.buf = appendU32(b.buf, lo, unix.IFF_UP, unix.IFF_UP)
	b.end()
	own4, own6 := OwnAddrs()
	own := []netip.Addr{own4}
	if ipv6 {
		own = append(own, own6)
	}
	for i, addr := range own {
		family := byte(unix.AF_INET)
		if addr.Is6() {
			family = unix.AF_INET6
		}
		// struct ifaddrmsg: family, prefix length, flags, scope, index
		b.begin(StepRoute, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
		b.buf = append(b.buf, family, byte(addr.BitLen()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE)
		b.buf = appendU32(b.buf, lo)
		b.attr(unix.IFA_LOCAL, addr.AsSlice())
		b.attr(unix.IFA_ADDRESS, addr.AsSlice())
		b.end()
		flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_REPLACE)
		if i == len(own)-1 {
			flags |= unix.NLM_F_ACK
		}
		b.begin(StepRoute, unix.RTM_NEWROUTE, flags)
		// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
		b.buf = append(b.buf, family, 0, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL)
		b.buf = appendU32(b.buf, 0)
		b.attr(unix.RTA_OIF, appendU32(nil, lo))
		// Or a connection's source would be its destination.
		b.attr(unix.RTA_PREFSRC, addr.AsSlice())
		b.end()
	}
	return b.send(fd, uint32(len(b.steps)))
}

// haveIPv6 reports whether the kernel has IPv6, and turns it on in this
// namespace if the distribution's default is off: with it off a tool's IPv6
// would fail instead of being captured.
func haveIPv6() (bool, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil // ipv6.disable=1 or not built: the tool can't make such a socket either
	}
	if err != nil {
		return false, &stepError{Step: StepIPv6, Err: err}
	}
	unix.Close(fd)
	const conf = "/proc/sys/net/ipv6/conf/"
	for _, name := range []string{"all", "lo"} {
		path := conf + name + "/disable_ipv6"
		if v, err := readSmall(path); err != nil || v != "0" {
			if err := writeSmall(path, "0"); err != nil {
				return false, &stepError{Step: StepIPv6, Err: err}
			}
		}
	}
	return true, nil
}

// tune makes a namespace in which one process opens thousands of connections to
// one address a second behave: the client end of a closed connection keeps its
// port for a minute otherwise, and its conntrack entry for two. Failing to tune
// (a read-only /proc/sys in a container) costs only speed.
func tune() {
	_ = writeSmall("/proc/sys/net/ipv4/tcp_tw_reuse", "1")
	_ = writeSmall("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1")
}

// readSmall and writeSmall are os.ReadFile and os.WriteFile without the runtime
// poller, which would open descriptors in a process that is about to place
// descriptors by number.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	for n > 0 && (buf[n-1] == '\n' || buf[n-1] == ' ') {
		n--
	}
	return string(buf[:n]), nil
}

func writeSmall(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
