package who

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Values of linux/sock_diag.h, linux/inet_diag.h and nfnetlink_conntrack.h.
const (
	sockDiagByFamily = 20
	tcpListen        = 10
	loopbackIndex    = 1 // of lo in every network namespace
	diagReplySize    = 72

	ctGet, ctNew            = 1<<8 | 1, 1 << 8
	ctaTupleOrig            = 1
	ctaTupleReply           = 2
	ctaTupleIP, ctaTuplePro = 1, 2
	ctaIPv4Src, ctaIPv4Dst  = 1, 2
	ctaIPv6Src, ctaIPv6Dst  = 3, 4
	ctaProtoNum             = 1
	ctaProtoSrcPort         = 2
	ctaProtoDstPort         = 3

	nested = unix.NLA_F_NESTED
)

// socket is what sock_diag says of one.
type socket struct {
	inode uint64
	uid   int
}

// netlink is a socket whose questions are answered within sendto(2).
type netlink struct {
	f     *os.File
	seq   uint32
	buf   []byte
	reply [4096]byte
}

// ask sends the message in n.buf and returns the body of its answer.
func (n *netlink) ask(typ, answer uint16) ([]byte, error) {
	n.seq++
	binary.NativeEndian.PutUint32(n.buf, uint32(len(n.buf)))
	binary.NativeEndian.PutUint16(n.buf[4:], typ)
	binary.NativeEndian.PutUint16(n.buf[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(n.buf[8:], n.seq)
	binary.NativeEndian.PutUint32(n.buf[12:], 0)
	fd := int(n.f.Fd())
	if _, err := unix.Write(fd, n.buf); err != nil {
		return nil, err
	}
	for {
		size, err := unix.Read(fd, n.reply[:]) // doesn't wait: it is there or never comes
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := n.reply[:size]
		for len(p) >= unix.NLMSG_HDRLEN {
			size := int(binary.NativeEndian.Uint32(p))
			if size < unix.NLMSG_HDRLEN || size > len(p) {
				break
			}
			body := p[unix.NLMSG_HDRLEN:size]
			if binary.NativeEndian.Uint32(p[8:]) == n.seq {
				switch got := binary.NativeEndian.Uint16(p[4:]); {
				case got == answer:
					return body, nil
				case got == unix.NLMSG_ERROR && len(body) >= 4:
					if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
						return nil, unix.Errno(errno)
					}
					return nil, errors.New("acknowledged without an answer")
				}
			}
			p = p[min(len(p), (size+3)&^3):]
		}
	}
}

// socket returns the TCP socket of the namespace that is local's end of a
// connection to remote. Both are of one family, never IPv4-mapped.
func (n *netlink) socket(local, remote netip.AddrPort) (socket, error) {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := append(n.buf[:0], make([]byte, unix.NLMSG_HDRLEN)...)
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // every state
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	b = appendAddr(b, local.Addr())
	b = appendAddr(b, remote.Addr())
	// Matches sockets bound to lo (SO_BINDTODEVICE) and sockets bound to none.
	b = binary.NativeEndian.AppendUint32(b, loopbackIndex)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // INET_DIAG_NOCOOKIE
	n.buf = b
	r, err := n.ask(sockDiagByFamily, sockDiagByFamily)
	if errors.Is(err, unix.ENOENT) {
		return socket{}, ErrNoSocket
	}
	if err != nil {
		return socket{}, fmt.Errorf("ask sock_diag: %w", err)
	}
	if len(r) < diagReplySize {
		return socket{}, errors.New("ask sock_diag: short answer")
	}
	// The lookup falls back to a listener where there is no connection.
	mapped := r[0] == unix.AF_INET6
	if r[1] == tcpListen || readAddrPort(r[8:], r[4:], mapped) != local || readAddrPort(r[24:], r[6:], mapped) != remote {
		return socket{}, ErrNoSocket
	}
	s := socket{uid: int(binary.NativeEndian.Uint32(r[64:])), inode: uint64(binary.NativeEndian.Uint32(r[68:]))}
	if s.inode == 0 {
		return socket{}, ErrNoSocket // closed; the kernel says the rest by itself
	}
	return s, nil
}

// asked returns the addresses that the pen's socket has, of a connection that was
// redirected to listener and whose peer appears there as client.
func (n *netlink) asked(client, listener netip.AddrPort) (from, to netip.AddrPort, err error) {
	family, src, dst := byte(unix.AF_INET), uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if client.Addr().Is6() {
		family, src, dst = unix.AF_INET6, ctaIPv6Src, ctaIPv6Dst
	}
	b := append(n.buf[:0], make([]byte, unix.NLMSG_HDRLEN)...)
	b = append(b, family, unix.NFNETLINK_V0, 0, 0)
	b = nest(b, ctaTupleReply, func(b []byte) []byte {
		b = nest(b, ctaTupleIP, func(b []byte) []byte {
			b = attr(b, src, listener.Addr().AsSlice())
			return attr(b, dst, client.Addr().AsSlice())
		})
		return nest(b, ctaTuplePro, func(b []byte) []byte {
			b = attr(b, ctaProtoNum, []byte{unix.IPPROTO_TCP})
			b = attr(b, ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, listener.Port()))
			return attr(b, ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, client.Port()))
		})
	})
	n.buf = b
	r, err := n.ask(ctGet, ctNew)
	if errors.Is(err, unix.ENOENT) {
		return from, to, ErrNoSocket
	}
	if err != nil {
		return from, to, fmt.Errorf("ask conntrack: %w", err)
	}
	if len(r) < 4 {
		return from, to, errors.New("ask conntrack: short answer")
	}
	tuple := member(r[4:], ctaTupleOrig)
	ip, ports := member(tuple, ctaTupleIP), member(tuple, ctaTuplePro)
	a, okA := netip.AddrFromSlice(member(ip, src))
	z, okZ := netip.AddrFromSlice(member(ip, dst))
	p, q := member(ports, ctaProtoSrcPort), member(ports, ctaProtoDstPort)
	if !okA || !okZ || len(p) < 2 || len(q) < 2 {
		return from, to, errors.New("ask conntrack: no tuple in the answer")
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(p)), netip.AddrPortFrom(z, binary.BigEndian.Uint16(q)), nil
}

// appendAddr writes the 16 bytes that struct inet_diag_sockid has for an address.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(append(b, v[:]...), make([]byte, 12)...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

func readAddrPort(addr, port []byte, six bool) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(addr[:4]))
	if six {
		a = netip.AddrFrom16([16]byte(addr[:16])).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

func attr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func nest(b []byte, typ uint16, fill func([]byte) []byte) []byte {
	at := len(b)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint16(b, typ|nested)
	b = fill(b)
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

// member returns the content of an attribute, nil if there is none.
func member(p []byte, typ uint16) []byte {
	for len(p) >= unix.NLA_HDRLEN {
		size := int(binary.NativeEndian.Uint16(p))
		if size < unix.NLA_HDRLEN || size > len(p) {
			return nil
		}
		if binary.NativeEndian.Uint16(p[2:])&^(nested|unix.NLA_F_NET_BYTEORDER) == typ {
			return p[unix.NLA_HDRLEN:size]
		}
		p = p[min(len(p), (size+3)&^3):]
	}
	return nil
}
