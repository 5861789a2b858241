package world

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is something that left H and arrived in W: a TCP connection attempt, a
// UDP datagram, an ICMP message or anything else that is not an answer within a
// connection.
type Packet struct {
	Time     time.Time
	Protocol string // tcp (the SYN), udp, icmp, icmp6, or ip-N
	From, To netip.AddrPort
	Payload  []byte // of UDP, at most the first 512 bytes
}

// String returns the packet as a line for a failed test.
func (p Packet) String() string { return fmt.Sprintf("%s %s -> %s", p.Protocol, p.From, p.To) }

const syncPort = 9 // discard: the marker's port on W's end of the link

// sniffer writes down what arrives at W's end of the link.
type sniffer struct {
	n  *network
	fd int

	mu      sync.Mutex
	packets []Packet
	marks   map[uint64]chan struct{}
	mark    uint64
}

func startSniffer(n *network) (*sniffer, error) {
	s := &sniffer{n: n, fd: -1, marks: map[uint64]chan struct{}{}}
	err := n.outside(func() error {
		iface, err := net.InterfaceByName("w0")
		if err != nil {
			return fmt.Errorf("find w0: %w", err)
		}
		proto := int(htons(unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		// Large enough that a burst from a hostile test is not dropped; drops are
		// counted all the same.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20)
		}
		// Nothing but what came from H: our own outgoing packets are not wanted.
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		if err := attachFilter(fd); err != nil {
			unix.Close(fd)
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: iface.Index}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bind packet socket: %w", err)
		}
		s.fd = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	go s.read()
	return s, nil
}

func (s *sniffer) read() {
	buf := make([]byte, 65536)
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		s.note(buf[:n])
	}
}

func (s *sniffer) note(frame []byte) {
	p, ok := parseFrame(frame)
	if !ok {
		return
	}
	p.Time = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Protocol == "udp" && p.To.Port() == syncPort && p.To.Addr() == linkW4.Addr() && len(p.Payload) == 8 {
		id := binary.BigEndian.Uint64(p.Payload)
		if c := s.marks[id]; c != nil {
			close(c)
			delete(s.marks, id)
			return
		}
	}
	s.packets = append(s.packets, p)
}

// settle returns when everything that left H before the call has been noted.
func (s *sniffer) settle() error {
	s.mu.Lock()
	s.mark++
	id := s.mark
	c := make(chan struct{})
	s.marks[id] = c
	s.mu.Unlock()
	conn, err := net.Dial("udp4", netip.AddrPortFrom(linkW4.Addr(), syncPort).String())
	if err != nil {
		return fmt.Errorf("send marker: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, id)); err != nil {
		return fmt.Errorf("send marker: %w", err)
	}
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		return fmt.Errorf("the sniffer did not see the marker")
	}
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		return fmt.Errorf("the sniffer lost %d packets", stats.Drops)
	}
	return nil
}

func (s *sniffer) since(i int) []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Packet(nil), s.packets[min(i, len(s.packets)):]...)
}

func (s *sniffer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.packets)
}

// parseFrame returns the packet of an Ethernet frame if it starts something:
// no ARP, no neighbour discovery, no segment of a connection that exists.
func parseFrame(f []byte) (Packet, bool) {
	if len(f) < 14 {
		return Packet{}, false
	}
	kind, b := binary.BigEndian.Uint16(f[12:]), f[14:]
	var p Packet
	var proto byte
	var src, dst netip.Addr
	switch kind {
	case unix.ETH_P_IP:
		if len(b) < 20 || int(b[0]&15)*4 > len(b) || b[0]&15 < 5 {
			return Packet{Protocol: "ip-malformed"}, true
		}
		proto = b[9]
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		b = b[int(b[0]&15)*4:]
	case unix.ETH_P_IPV6:
		if len(b) < 40 {
			return Packet{Protocol: "ip-malformed"}, true
		}
		proto = b[6]
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		b = b[40:]
		if proto == 0 && len(b) >= 8 { // hop-by-hop header, as in MLD reports
			if b[0] == unix.IPPROTO_ICMPV6 {
				return Packet{}, false
			}
			proto = b[0]
		}
	case unix.ETH_P_ARP:
		return Packet{}, false
	default:
		p.Protocol = fmt.Sprintf("ethertype-%#04x", kind)
		return p, true
	}
	switch proto {
	case unix.IPPROTO_TCP:
		if len(b) >= 14 && b[13]&0x02 != 0 && b[13]&0x10 == 0 {
			p.Protocol = "tcp"
			p.From = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
			p.To = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
			return p, true
		}
		return Packet{}, false
	case unix.IPPROTO_UDP:
		if len(b) < 8 {
			return Packet{Protocol: "ip-malformed"}, true
		}
		p.Protocol = "udp"
		p.From = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
		p.To = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
		p.Payload = append([]byte(nil), b[8:min(len(b), 8+512)]...)
		return p, true
	case unix.IPPROTO_ICMPV6:
		if len(b) > 0 && b[0] >= 130 && b[0] <= 143 && b[0] != 138 { // MLD, neighbour discovery
			return Packet{}, false
		}
		p.Protocol = "icmp6"
	case unix.IPPROTO_ICMP:
		p.Protocol = "icmp"
	default:
		p.Protocol = fmt.Sprintf("ip-%d", proto)
	}
	p.From, p.To = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	return p, true
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
