// Package stack is the other end of the machine's only network link: whatever the
// machine connects to, it connects to from the pen, where every connection is captured.
//
// # Hazards
//
// Every frame is hostile. It is parsed by gVisor's network stack, in a process of the
// pen that has nothing but the pen's network, which has no way out but the proxy: who
// takes this process over can connect to what the machine could connect to. What is
// neither TCP nor a question to a resolver is refused, after the pen was asked, so that
// it is refused and recorded as it is in other tiers. Each connection costs memory here:
// there are at most maxConnections.
package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// MTU is the link's. Large packets cost an emulated processor the least.
const MTU = 65520

const (
	card           = 1
	ethernet       = 14 // bytes before a packet
	maxFrame       = 64<<10 + ethernet + 4
	maxConnections = 4096
	connecting     = 512
	window         = 1 << 20
	queue          = 512 // packets to the machine that wait for the link
)

// MAC is the hardware address that the machine's card has to have.
func MAC() net.HardwareAddr { return net.HardwareAddr{0x02, 'p', 'e', 'n', 0, 2} }

// Stack is the link's end. Close ends it.
type Stack struct {
	ends   *stack.Stack
	link   *channel.Endpoint
	dialer Dialer
	slots  chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Dialer makes the machine's connections. Gateway is the address at which the machine
// reaches the loopback interface of who dials, at the ports Local.
type Dialer struct {
	Gateway net.IP
	Local   []uint16
}

// New returns the end of a link over a stream of frames, each behind its length (QEMU's
// netdev stream). The stream is closed with it.
func New(rw io.ReadWriteCloser, d Dialer) (*Stack, error) {
	// What gVisor says of a machine's packets is the machine's to choose, and standard
	// error the command's.
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
	s := &Stack{
		ends: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
		link: channel.New(queue, MTU, ""), dialer: d, slots: make(chan struct{}, maxConnections),
	}
	if e := s.ends.CreateNIC(card, s.link); e != nil {
		return nil, failed("make the link", e)
	}
	// It answers for every address, and sends as any.
	if e := s.ends.SetPromiscuousMode(card, true); e != nil {
		return nil, failed("take every address", e)
	}
	if e := s.ends.SetSpoofing(card, true); e != nil {
		return nil, failed("be every address", e)
	}
	s.ends.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: card}, {Destination: header.IPv6EmptySubnet, NIC: card}})
	sack := tcpip.TCPSACKEnabled(true)
	s.ends.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	s.ends.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate)
	s.ends.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s.ends, window, connecting, s.tcp).HandlePacket)
	s.ends.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.ends, s.udp).HandlePacket)

	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = func() { cancel(); rw.Close() }
	s.wg.Add(2)
	go func() { defer s.wg.Done(); s.in(rw) }()
	go func() { defer s.wg.Done(); s.out(ctx, rw) }()
	return s, nil
}

func failed(what string, e tcpip.Error) error { return fmt.Errorf("%s: %s", what, e) }

// Close ends the link and what goes over it.
func (s *Stack) Close() error {
	s.cancel()
	s.wg.Wait()
	s.ends.Close()
	return nil
}

// in takes frames from the machine.
func (s *Stack) in(r io.Reader) {
	for {
		frame, err := readFrame(r)
		if err != nil {
			return
		}
		var protocol tcpip.NetworkProtocolNumber
		switch {
		case len(frame) <= ethernet:
			continue
		case binary.BigEndian.Uint16(frame[12:]) == uint16(header.IPv4ProtocolNumber):
			protocol = header.IPv4ProtocolNumber
		case binary.BigEndian.Uint16(frame[12:]) == uint16(header.IPv6ProtocolNumber):
			protocol = header.IPv6ProtocolNumber
		default:
			continue
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame[ethernet:])})
		s.link.InjectInbound(protocol, p)
		p.DecRef()
	}
}

// readFrame reads one frame behind its length.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, errors.New("a frame that is too long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// out gives packets to the machine. The link is as fast as the machine reads.
func (s *Stack) out(ctx context.Context, w io.Writer) {
	b := make([]byte, 0, maxFrame+4)
	for {
		p := s.link.ReadContext(ctx)
		if p == nil {
			return
		}
		v := p.ToView()
		b = binary.BigEndian.AppendUint32(b[:0], uint32(ethernet+v.Size()))
		b = append(b, MAC()...)
		b = append(b, 0x02, 'p', 'e', 'n', 0, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(p.NetworkProtocolNumber))
		b = append(b, v.AsSlice()...)
		v.Release()
		p.DecRef()
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}
