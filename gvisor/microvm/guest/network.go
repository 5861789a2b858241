package guest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The machine's addresses, and that of the other end of its only link, at which the
// pen's own loopback services are.
const (
	Address4 = "100.64.0.2"
	Address6 = "fd00:70:65:6e::2"
	Gateway  = "fe80::1"
	card     = "eth0"
)

// network brings up loopback and the only card. There is nobody to ask for hardware
// addresses: all that is sent goes to the other end.
func network(relay []uint16) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a socket for the network: %w", err)
	}
	defer unix.Close(fd)
	lo, err := index("lo")
	if err != nil {
		return err
	}
	eth, err := index(card)
	if err != nil {
		return err
	}
	v4, v6 := net.ParseIP(Address4).To4(), net.ParseIP(Address6)
	for _, m := range []struct {
		what string
		b    []byte
	}{
		{"bring up lo", link(lo, unix.IFF_UP, unix.IFF_UP)},
		{"bring up the card", link(eth, unix.IFF_UP|unix.IFF_NOARP, unix.IFF_UP|unix.IFF_NOARP)},
		{"give the card an address", address(eth, unix.AF_INET, 32, v4)},
		{"give the card an address (IPv6)", address(eth, unix.AF_INET6, 128, v6)},
		{"make a route", route(eth, unix.AF_INET, v4)},
		{"make a route (IPv6)", route(eth, unix.AF_INET6, nil)},
	} {
		if err := request(fd, m.b); err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	for _, port := range relay {
		if err := listen(port); err != nil {
			return err
		}
	}
	return nil
}

func index(name string) (int32, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return int32(i.Index), nil
}

// message is a netlink request whose length is filled in by request.
func message(kind uint16, body []byte, attributes ...[]byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN)
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	b = append(b, body...)
	for _, a := range attributes {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

func link(i int32, flags, change uint32) []byte {
	m := unix.IfInfomsg{Index: i, Flags: flags, Change: change}
	return message(unix.RTM_NEWLINK, bytesOf(&m))
}

func address(i int32, family, prefix uint8, ip net.IP) []byte {
	m := unix.IfAddrmsg{Family: family, Prefixlen: prefix, Flags: unix.IFA_F_NODAD, Index: uint32(i)}
	return message(unix.RTM_NEWADDR, bytesOf(&m), attribute(unix.IFA_LOCAL, ip), attribute(unix.IFA_ADDRESS, ip))
}

func route(i int32, family uint8, from net.IP) []byte {
	m := unix.RtMsg{Family: family, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BOOT, Scope: unix.RT_SCOPE_LINK, Type: unix.RTN_UNICAST}
	if family == unix.AF_INET6 {
		m.Scope = unix.RT_SCOPE_UNIVERSE
	}
	out := attribute(unix.RTA_OIF, number(i))
	if from != nil {
		out = append(out, attribute(unix.RTA_PREFSRC, from)...)
	}
	return message(unix.RTM_NEWROUTE, bytesOf(&m), out)
}

// request sends a message and reads what came of it.
func request(fd int, b []byte) error {
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("an answer of %d bytes", n)
	}
	if e := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}

// resolver is the port that is asked for names, by datagrams too.
const resolver = 53

// listen takes what comes to a port of the loopback interface to the pen's.
func listen(port uint16) error {
	text := strconv.Itoa(int(port))
	far := net.JoinHostPort(Gateway+"%"+card, text)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		at := net.JoinHostPort(ip, text)
		l, err := net.Listen("tcp", at)
		if err != nil {
			return fmt.Errorf("listen for the proxy: %w", err)
		}
		go streams(l, far)
		if port != resolver {
			continue
		}
		u, err := net.ListenPacket("udp", at)
		if err != nil {
			return fmt.Errorf("listen for the resolver: %w", err)
		}
		go packets(u, far)
	}
	return nil
}

func streams(l net.Listener, far string) {
	for {
		c, err := l.Accept()
		if err != nil {
			pause()
			continue
		}
		go stream(c.(*net.TCPConn), far)
	}
}

// stream joins two connections; each direction ends as its sender ends it.
func stream(near *net.TCPConn, far string) {
	defer near.Close()
	d, err := net.Dial("tcp", far)
	if err != nil {
		near.SetLinger(0) //nolint:errcheck // it is closed
		return
	}
	other := d.(*net.TCPConn)
	defer other.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		half(other, near)
	}()
	half(near, other)
	<-done
}

func half(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.SetLinger(0)   //nolint:errcheck // it is closed
		from.SetLinger(0) //nolint:errcheck // it is closed
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite() //nolint:errcheck // it is gone
}

// answerTime is how long an answer to a datagram is waited for.
const answerTime = 10 * time.Second

// atOnce bounds how many datagrams wait for an answer.
const atOnce = 256

func packets(u net.PacketConn, far string) {
	slots := make(chan struct{}, atOnce)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			pause()
			continue
		}
		slots <- struct{}{}
		go func(b []byte) {
			defer func() { <-slots }()
			c, err := net.Dial("udp", far)
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then it waits for the end
			if _, err := c.Write(b); err != nil {
				return
			}
			answer := make([]byte, 64<<10)
			if n, err := c.Read(answer); err == nil {
				u.WriteTo(answer[:n], from) //nolint:errcheck // who asked asks again
			}
		}(append([]byte(nil), buf[:n]...))
	}
}
