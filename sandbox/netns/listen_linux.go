package netns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// backlog of the TCP listeners. The kernel cuts it to net.core.somaxconn (4096
// by default); what is beyond it waits in SYN retries, so it is generous.
const backlog = 4096

// openSockets opens everything the pen needs, inside its namespace. The
// descriptors are non-blocking and close-on-exec.
func openSockets(ipv6 bool) (s *Sockets, err error) {
	s = &Sockets{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	type want struct {
		file     **os.File
		name     string
		typ      int
		port     int
		wildcard bool
		v6       bool
	}
	all := []want{
		{&s.Capture4, "capture", unix.SOCK_STREAM, CapturePort, false, false},
		{&s.Explicit4, "proxy", unix.SOCK_STREAM, ExplicitPort, false, false},
		{&s.DNSUDP4, "dns", unix.SOCK_DGRAM, DNSPort, true, false},
		{&s.DNSTCP4, "dns", unix.SOCK_STREAM, DNSPort, true, false},
		{&s.Capture6, "capture", unix.SOCK_STREAM, CapturePort, false, true},
		{&s.Explicit6, "proxy", unix.SOCK_STREAM, ExplicitPort, false, true},
		{&s.DNSUDP6, "dns", unix.SOCK_DGRAM, DNSPort, true, true},
		{&s.DNSTCP6, "dns", unix.SOCK_STREAM, DNSPort, true, true},
	}
	for _, w := range all {
		if w.v6 && !ipv6 {
			continue
		}
		if *w.file, err = openSocket(w.typ, w.port, w.wildcard, w.v6, w.name); err != nil {
			return nil, &stepError{Step: StepListen, Err: err}
		}
	}
	return s, nil
}

func openSocket(typ, port int, wildcard, v6 bool, name string) (*os.File, error) {
	family, network := unix.AF_INET, "v4"
	var addr unix.Sockaddr = &unix.SockaddrInet4{Port: port}
	if v6 {
		family, network = unix.AF_INET6, "v6"
		addr = &unix.SockaddrInet6{Port: port}
		if !wildcard {
			addr = &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
		}
	} else if !wildcard {
		addr = &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	}
	// A plain socket: net.Listen would make an MPTCP one.
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for %s %s: %w", name, network, err)
	}
	type option struct{ level, name, value int }
	var options []option
	if v6 {
		// Two sockets rather than one dual-stack one: a pen without IPv6 then needs no other code.
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	if typ == unix.SOCK_DGRAM {
		// Which address was asked; the answer must come from it.
		options = append(options, option{unix.SOL_IP, unix.IP_PKTINFO, 1})
		if v6 {
			// IPv6 lets a socket send from an address that is local only by
			// route when it asks for that (ipv6_can_nonlocal_bind).
			options = append(options[:1], option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, option{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1})
		}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set option of %s %s: %w", name, network, err)
		}
	}
	if err := unix.Bind(fd, addr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind %s %s port %d: %w", name, network, port, err)
	}
	if typ == unix.SOCK_STREAM {
		if err := unix.Listen(fd, backlog); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("listen %s %s: %w", name, network, err)
		}
	}
	return rawFile(fd, name+network), nil
}

// rawFile wraps fd without giving it to the runtime poller, which decides by
// O_NONBLOCK: the flag is put back on after the file exists.
func rawFile(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, false)
	f := os.NewFile(uintptr(fd), name)
	_ = unix.SetNonblock(fd, true)
	return f
}

// openDrops binds the log group and returns its socket. Bound and configured
// here, because that needs CAP_NET_ADMIN; reading it needs nothing.
func openDrops() (*os.File, error) {
	fd, err := netlinkSocket(unix.NETLINK_NETFILTER, StepDrops)
	if err != nil {
		return nil, err
	}
	var b batch
	b.begin(StepDrops, unix.NFNL_SUBSYS_ULOG<<8|nfulMsgConfig, unix.NLM_F_ACK)
	b.buf = append(b.buf, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, dropGroup) // struct nfgenmsg: the group is the resource id
	b.attr(nfulaCfgCmd, []byte{nfulCmdBind})
	mode := append(be32(dropSnap), nfulCopyPacket, 0)
	b.attr(nfulaCfgMode, mode)
	b.attr(nfulaCfgQthresh, be32(1)) // at once
	b.attr(nfulaCfgFlags, be16(nfulFlagSeq))
	b.end()
	if err := b.send(fd, 1); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// Room for some hundred reports; the kernel counts what doesn't fit.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 128<<10)
	return rawFile(fd, "drops"), nil
}

// openDiag opens what tells about the pen's sockets. A pen without it is as tight,
// and its audit doesn't know the processes: no error. Where nothing is redirected
// there is nothing to ask the packet filter.
func openDiag(s *Sockets, steered bool) {
	if fd, err := netlinkSocket(unix.NETLINK_SOCK_DIAG, StepListen); err == nil {
		s.Diag = rawFile(fd, "diag")
	}
	if steered {
		return
	}
	// Asking takes CAP_NET_ADMIN over the namespace of who opened the socket, which
	// we have here, and of who asks: the caller has it as the namespace's owner.
	if fd, err := netlinkSocket(unix.NETLINK_NETFILTER, StepListen); err == nil {
		s.Track = rawFile(fd, "track")
	}
}
