package netns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// toolRole is the test binary as a tool in a pen. Each argument is a step,
// "VERB ARGUMENT…", and prints one line.
const toolRole = "role:test-tool"

// patience is how many seconds the tool waits for what comes at once or never.
const patience = 10

func toolMain(steps []string) int {
	for _, s := range steps {
		verb := strings.Fields(s)
		out, err := toolStep(verb[0], verb[1:])
		if err != nil {
			out = errnoName(err)
		}
		fmt.Println(out)
	}
	return 0
}

func errnoName(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
}

func dropName(d Drop) string {
	return fmt.Sprintf("%d/%s", d.Proto, netip.AddrPortFrom(d.Dst, d.Port))
}

func toolStep(verb string, a []string) (string, error) {
	switch verb {
	case "tcp": // ADDR:PORT [mapped|mptcp|fastopen|bind=ADDR]
		how := ""
		if len(a) > 1 {
			how = a[1]
		}
		return toolTCP(netip.MustParseAddrPort(a[0]), how)
	case "squat": // ADDR:PORT: listen there and then connect to it
		fd, err := listenAt(netip.MustParseAddrPort(a[0]))
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		return toolTCP(netip.MustParseAddrPort(a[0]), "")
	case "listen": // ADDR:PORT
		fd, err := listenAt(netip.MustParseAddrPort(a[0]))
		if err == nil {
			unix.Close(fd)
		}
		return "ok", err
	case "udp": // ADDR:PORT [connected|mapped|lite|device]
		how := ""
		if len(a) > 1 {
			how = a[1]
		}
		return toolUDP(netip.MustParseAddrPort(a[0]), how)
	case "write": // PATH VALUE
		return "ok", writeSmall(a[0], a[1])
	case "flood": // ADDR:PORT COUNT
		return toolFlood(netip.MustParseAddrPort(a[0]), a[1])
	case "many": // ADDR:PORT COUNT: connections one after the other, closed by us
		return toolMany(netip.MustParseAddrPort(a[0]), a[1])
	case "source": // ADDR:PORT: the address that the kernel would send from
		c, err := net.Dial("udp", a[0])
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).IP.String(), nil
	case "own": // ADDR: own servers on it, TCP and UDP
		return toolOwn(a[0])
	case "socket": // FAMILY TYPE PROTOCOL
		var n [3]int
		for i := range n {
			n[i], _ = strconv.Atoi(a[i])
		}
		fd, err := unix.Socket(n[0], n[1], n[2])
		if err == nil {
			unix.Close(fd)
		}
		return "ok", err
	case "raw": // PROTOCOL ADDR: send a packet through a raw socket
		proto, _ := strconv.Atoi(a[0])
		return toolRaw(proto, netip.MustParseAddr(a[1]))
	case "dns": // SERVER:PORT udp|connected|tcp NAME
		return toolDNS(netip.MustParseAddrPort(a[0]), a[1], a[2])
	case "netlink": // what
		return "ok", toolNetlink(a[0])
	case "links":
		links, err := net.Interfaces()
		var names []string
		for _, l := range links {
			names = append(names, l.Name)
		}
		return strings.Join(names, " "), err
	case "routes":
		return toolRoutes()
	case "wait": // for the end of standard input
		_, err := io.Copy(io.Discard, os.Stdin)
		return "ok", err
	case "fds":
		return toolDescriptors()
	case "serve": // PORT: one line on 127.0.0.1, until killed
		return toolServe(a[0])
	case "sleep":
		fmt.Println("sleeping", os.Getpid())
		_, err := io.Copy(io.Discard, os.Stdin) // never ends while the pen lives
		for err == nil {
			err = syscall.Pause()
		}
		return "", err
	}
	return "", fmt.Errorf("no step %q", verb)
}

func sockaddr(a netip.AddrPort, mapped bool) (int, unix.Sockaddr) {
	if a.Addr().Is4() && !mapped {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// readLine reads what the proxy says.
func readLine(fd int) (string, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err == io.EOF && line == "" {
		return "", errors.New("closed without a word")
	}
	return strings.TrimSuffix(line, "\n"), err
}

func toolTCP(to netip.AddrPort, how string) (string, error) {
	family, sa := sockaddr(to, how == "mapped")
	proto := 0
	if how == "mptcp" {
		proto = unix.IPPROTO_MPTCP
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, proto)
	if err != nil {
		return "", err
	}
	tv := unix.Timeval{Sec: patience}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if from, ok := strings.CutPrefix(how, "bind="); ok {
		_, local := sockaddr(netip.AddrPortFrom(netip.MustParseAddr(from), 0), false)
		if err := unix.Bind(fd, local); err != nil {
			unix.Close(fd)
			return "", err
		}
	}
	if how == "device" {
		if err := unix.BindToDevice(fd, "lo"); err != nil {
			unix.Close(fd)
			return "", err
		}
	}
	if how == "routed" { // loose source routing by way of loopback, RFC 791
		route := []byte{131, 7, 4, 127, 0, 0, 1, 0}
		if err := unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, string(route)); err != nil {
			unix.Close(fd)
			return "", err
		}
	}
	if how == "fastopen" {
		err = unix.Sendto(fd, []byte("early"), unix.MSG_FASTOPEN, sa)
	} else {
		err = unix.Connect(fd, sa)
	}
	// An answer that came only when the kernel had tried again came too late.
	if info, e := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO); e == nil && info.Total_retrans > 0 {
		unix.Close(fd)
		return fmt.Sprintf("slow, tried again %d times: %v", info.Total_retrans, err), nil
	}
	if err != nil {
		unix.Close(fd)
		return "", err
	}
	return readLine(fd)
}

func listenAt(at netip.AddrPort) (int, error) {
	family, sa := sockaddr(at, false)
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err = unix.Bind(fd, sa); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// toolUDP sends one datagram and waits for what comes of it: a refusal, or EAGAIN
// if nothing does.
func toolUDP(to netip.AddrPort, how string) (string, error) {
	family, sa := sockaddr(to, how == "mapped")
	proto := 0
	if how == "lite" {
		proto = unix.IPPROTO_UDPLITE
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, proto)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if how == "device" {
		if err := unix.BindToDevice(fd, "lo"); err != nil {
			return "", err
		}
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	tv := unix.Timeval{Sec: patience}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if how == "connected" {
		if err = unix.Connect(fd, sa); err == nil {
			_, err = unix.Write(fd, []byte("hello"))
		}
	} else {
		err = unix.Sendto(fd, []byte("hello"), 0, sa)
	}
	if err == nil {
		_, err = unix.Read(fd, make([]byte, 100))
	}
	return "an answer", err
}

func toolFlood(to netip.AddrPort, count string) (string, error) {
	n, _ := strconv.Atoi(count)
	family, sa := sockaddr(to, false)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	for range n {
		if err := unix.Sendto(fd, []byte("x"), 0, sa); err != unix.EPERM {
			return "", fmt.Errorf("send: %w", err)
		}
	}
	return "sent", nil
}

// toolMany is a client that makes a new connection for each request and closes
// it first, so that its end keeps the port.
func toolMany(to netip.AddrPort, count string) (string, error) {
	n, _ := strconv.Atoi(count)
	family, sa := sockaddr(to, false)
	buf := make([]byte, 100)
	for i := range n {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		if err := unix.Connect(fd, sa); err != nil {
			return "", fmt.Errorf("connection %d: %w", i, err)
		}
		if n, err := unix.Read(fd, buf); err != nil || n == 0 {
			return "", fmt.Errorf("connection %d: read %d, %w", i, n, err)
		}
		unix.Shutdown(fd, unix.SHUT_WR)
		unix.Read(fd, buf)
		unix.Close(fd)
	}
	return "connected", nil
}

// toolOwn runs servers of the tool's own on a loopback address.
func toolOwn(addr string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "mine\n")
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "mine\n" {
		return "", fmt.Errorf("own TCP server said %q, %v", line, err)
	}
	u, err := net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
	if err != nil {
		return "", err
	}
	defer u.Close()
	c, err = net.Dial("udp", u.LocalAddr().String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Write([]byte("ping")); err != nil {
		return "", err
	}
	buf := make([]byte, 10)
	u.SetReadDeadline(time.Now().Add(patience * time.Second))
	n, _, err := u.ReadFrom(buf)
	return string(buf[:n]), err
}

func toolRaw(proto int, to netip.Addr) (string, error) {
	family, sa := sockaddr(netip.AddrPortFrom(to, 0), false)
	fd, err := unix.Socket(family, unix.SOCK_RAW, proto)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	packet := make([]byte, 64)
	if proto == unix.IPPROTO_ICMP {
		packet[0] = 8
	} else {
		binary.BigEndian.PutUint16(packet[2:], 9999)
	}
	return "sent", unix.Sendto(fd, packet, 0, sa)
}

// toolDNS asks for NAME's A and says the answer's address if it came from the
// server that was asked.
func toolDNS(server netip.AddrPort, how, name string) (string, error) {
	query := []byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 1, 0, 1)
	family, sa := sockaddr(server, false)
	typ := unix.SOCK_DGRAM
	if how == "tcp" {
		typ = unix.SOCK_STREAM
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	fd, err := unix.Socket(family, typ, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	tv := unix.Timeval{Sec: patience}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if how == "udp" {
		err = unix.Sendto(fd, query, 0, sa)
	} else if err = unix.Connect(fd, sa); err == nil {
		_, err = unix.Write(fd, query)
	}
	if err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, from, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return "", err
	}
	if how == "udp" {
		var got netip.AddrPort
		switch f := from.(type) {
		case *unix.SockaddrInet4:
			got = netip.AddrPortFrom(netip.AddrFrom4(f.Addr), uint16(f.Port))
		case *unix.SockaddrInet6:
			got = netip.AddrPortFrom(netip.AddrFrom16(f.Addr), uint16(f.Port))
		}
		if got != server {
			return "", fmt.Errorf("answer came from %v", got)
		}
	}
	msg := buf[:n]
	if how == "tcp" {
		msg = msg[2:]
	}
	if !bytes.Equal(msg[:2], []byte{7, 7}) || msg[7] != 1 {
		return "", fmt.Errorf("answer %x", msg)
	}
	return netip.AddrFrom4([4]byte(msg[len(msg)-4:])).String(), nil
}

// toolNetlink tries to change what the builder has built.
func toolNetlink(what string) error {
	const nft = unix.NFNL_SUBSYS_NFTABLES << 8
	protocol := unix.NETLINK_ROUTE
	var b batch
	wait := uint32(1)
	switch what {
	case "route":
		b.begin(StepRoute, unix.RTM_DELROUTE, unix.NLM_F_ACK)
		b.buf = append(b.buf, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_LOCAL, 0, unix.RT_SCOPE_NOWHERE, unix.RTN_LOCAL)
		b.buf = appendU32(b.buf, 0)
		b.end()
	case "link": // a dummy interface
		b.begin(StepLink, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_ACK)
		b.buf = append(b.buf, make([]byte, unix.SizeofIfInfomsg)...)
		b.attr(unix.IFLA_IFNAME, cstr("out0"))
		b.nest(unix.IFLA_LINKINFO, func() { b.attr(unix.IFLA_INFO_KIND, cstr("dummy")) })
		b.end()
	case "down":
		b.begin(StepLink, unix.RTM_NEWLINK, unix.NLM_F_ACK)
		b.buf = append(b.buf, 0, 0, 0, 0)
		b.buf = appendU32(b.buf, 1, 0, unix.IFF_UP)
		b.end()
	case "flush":
		protocol, wait = unix.NETLINK_NETFILTER, 2
		b.begin(StepNftables, unix.NFNL_MSG_BATCH_BEGIN, 0)
		b.buf = append(b.buf, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
		b.end()
		b.begin(StepNftables, nft|unix.NFT_MSG_DELTABLE, unix.NLM_F_ACK)
		b.buf = append(b.buf, 0, 0, 0, 0)
		b.end()
		b.begin(StepNftables, unix.NFNL_MSG_BATCH_END, 0)
		b.buf = append(b.buf, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
		b.end()
	case "nflog": // take over the log group
		f, err := openDrops()
		if err == nil {
			f.Close()
		}
		return err
	}
	fd, err := netlinkSocket(protocol, StepLink)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return b.send(fd, wait)
}

// toolRoutes lists all routes of both families, as another library reads them.
func toolRoutes() (string, error) {
	var out []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return "", err
		}
		for _, r := range routes {
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				return "", err
			}
			dst := "0.0.0.0/0"
			switch {
			case r.Dst != nil:
				dst = r.Dst.String()
			case family == unix.AF_INET6:
				dst = "::/0"
			}
			kind := strconv.Itoa(r.Type)
			if r.Type == unix.RTN_LOCAL {
				kind = "local"
			}
			out = append(out, fmt.Sprintf("%s %s %s", kind, dst, link.Attrs().Name))
		}
	}
	return strings.Join(out, ", "), nil
}

// toolDescriptors lists what is open, but for what the runtime opened.
func toolDescriptors() (string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return "", err
	}
	var out []string
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(link, "/proc/") || strings.Contains(link, "cgroup") ||
			strings.Contains(link, "[eventpoll]") || strings.Contains(link, "[eventfd]") {
			continue
		}
		kind, _, _ := strings.Cut(link, ":[")
		if strings.HasPrefix(kind, "/dev/null") {
			kind = "null"
		}
		out = append(out, e.Name()+"="+kind)
	}
	sort.Strings(out)
	return strings.Join(out, " "), nil
}

func toolServe(port string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:"+port)
	if err != nil {
		return "", err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return "", err
		}
		io.WriteString(c, "from inside\n")
		c.Close()
	}
}
