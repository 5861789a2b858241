package netns

import (
	"encoding/binary"
	"net/netip"
)

// Values of linux/netfilter/nfnetlink_log.h.
const (
	nfulMsgPacket, nfulMsgConfig = 0, 1
	nfulCmdBind                  = 1
	nfulCopyPacket               = 2
	nfulFlagSeq                  = 1

	nfulaCfgCmd, nfulaCfgMode, nfulaCfgQthresh, nfulaCfgFlags = 1, 2, 5, 6
	nfulaPacketHdr, nfulaPayload, nfulaSeq                    = 1, 9, 12

	nfnlSubsysULOG = 4
)

// Drop is what was refused, and how often since it was last reported.
type Drop struct {
	Proto uint8      // IP protocol number; for IPv6 that of the last header looked at
	Dst   netip.Addr // never IPv4-mapped
	Port  uint16     // destination port; 0 where the protocol has none or the packet is cut
	Count uint64
}

// packet is one refused packet as far as its headers could be read.
type packet struct {
	proto  uint8
	dst    netip.Addr
	port   uint16
	seq    uint32 // number of the report in the pen, from 0
	hasSeq bool
}

// parseReports calls yield for each packet of one netlink datagram. The frame
// is the kernel's, the packet in it is the tool's: every length is checked. A
// report whose packet can't be read is yielded with an invalid address, so that
// it is counted.
func parseReports(p []byte, yield func(packet)) {
	const header = 16
	for len(p) >= header {
		size := int(binary.NativeEndian.Uint32(p))
		if size < header || size > len(p) {
			return
		}
		if binary.NativeEndian.Uint16(p[4:]) == nfnlSubsysULOG<<8|nfulMsgPacket && size >= header+4 {
			yield(parseReport(p[header+4 : size]))
		}
		p = p[min(len(p), (size+3)&^3):]
	}
}

// parseReport reads the attributes of one report.
func parseReport(p []byte) packet {
	var out packet
	var etherType uint16
	var payload []byte
	for len(p) >= 4 {
		size := int(binary.NativeEndian.Uint16(p))
		if size < 4 || size > len(p) {
			break
		}
		body := p[4:size]
		switch binary.NativeEndian.Uint16(p[2:]) & 0x3fff {
		case nfulaPacketHdr:
			if len(body) >= 2 {
				etherType = binary.BigEndian.Uint16(body)
			}
		case nfulaPayload:
			payload = body
		case nfulaSeq:
			if len(body) >= 4 {
				out.seq, out.hasSeq = binary.BigEndian.Uint32(body), true
			}
		}
		p = p[min(len(p), (size+3)&^3):]
	}
	switch etherType {
	case 0x0800:
		parseIPv4(payload, &out)
	case 0x86dd:
		parseIPv6(payload, &out)
	}
	return out
}

func parseIPv4(p []byte, out *packet) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return
	}
	out.proto = p[9]
	out.dst = netip.AddrFrom4([4]byte(p[16:20]))
	ihl := int(p[0]&15) * 4
	fragment := binary.BigEndian.Uint16(p[6:]) & 0x1fff
	if ihl < 20 || ihl > len(p) || fragment != 0 {
		return
	}
	out.port = destinationPort(out.proto, p[ihl:])
}

func parseIPv6(p []byte, out *packet) {
	if len(p) < 40 || p[0]>>4 != 6 {
		return
	}
	next := p[6]
	out.dst = netip.AddrFrom16([16]byte(p[24:40])).Unmap()
	out.proto = next
	p = p[40:]
	for range 8 { // more extension headers than that are not worth a port
		size := 0
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options (RFC 8200 section 4)
			if len(p) < 2 {
				return
			}
			size = 8 + int(p[1])*8
		case 44: // fragment
			if len(p) < 8 || binary.BigEndian.Uint16(p[2:])>>3 != 0 {
				return
			}
			size = 8
		default:
			out.port = destinationPort(next, p)
			return
		}
		if size > len(p) {
			return
		}
		next, p = p[0], p[size:]
		out.proto = next
	}
}

// destinationPort reads the port of the protocols that have it in bytes 2 and 3:
// TCP, UDP, DCCP, SCTP, UDP-Lite.
func destinationPort(proto uint8, p []byte) uint16 {
	switch proto {
	case 6, 17, 33, 132, 136:
		if len(p) >= 4 {
			return binary.BigEndian.Uint16(p[2:])
		}
	}
	return 0
}
