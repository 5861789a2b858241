package dialguard

import (
	"encoding/binary"
	"net/netip"
)

// Class is what kind of address one is. Only ClassPublic and
// ClassDocumentation may be dialled without a rule that lists the address.
type Class string

// The classes. The zero value is not a class, and is refused.
const (
	ClassPublic        Class = "public"
	ClassDocumentation Class = "documentation" // RFC 5737, 3849, 9637: nobody is there, so nobody is harmed
	ClassInvalid       Class = "invalid"       // no address, or one with a zone
	ClassUnspecified   Class = "unspecified"
	ClassLoopback      Class = "loopback"
	ClassPrivate       Class = "private" // RFC 1918, RFC 4193
	ClassLinkLocal     Class = "link-local"
	ClassSiteLocal     Class = "site-local" // RFC 3879: deprecated, still routed by some
	ClassMetadata      Class = "metadata"   // a cloud's instance metadata or wire server
	ClassCGNAT         Class = "shared (CGNAT)"
	ClassMulticast     Class = "multicast"
	ClassBroadcast     Class = "broadcast"
	ClassBenchmarking  Class = "benchmarking"
	ClassReserved      Class = "reserved"
	ClassNAT64Local    Class = "local NAT64" // RFC 8215: what it becomes is not known here
	ClassHost          Class = "host's own"  // an address of one of the host's interfaces
)

// Free reports whether an address of the class may be dialled without a rule
// that lists it.
func (c Class) Free() bool { return c == ClassPublic || c == ClassDocumentation }

// Classify returns the class of an address. An IPv6 address that embeds an IPv4
// address has the embedded one's class, unless its own is already refused.
func Classify(a netip.Addr) Class {
	// A zone names an interface of the host: never something a pen may choose.
	if !a.IsValid() || a.Zone() != "" {
		return ClassInvalid
	}
	if a.Is4() || a.Is4In6() {
		return classify4(a.Unmap().As4())
	}
	return classify6(a.As16())
}

// classify4 follows the IANA IPv4 Special-Purpose Address Registry.
func classify4(b [4]byte) Class {
	switch v := binary.BigEndian.Uint32(b[:]); {
	case v == 0:
		return ClassUnspecified
	case b[0] == 0: // 0.0.0.0/8, RFC 791: Linux connects 0.0.0.0 to itself
		return ClassReserved
	case b[0] == 127:
		return ClassLoopback
	case v == 0xa9fea9fe, // 169.254.169.254: AWS, Google, Azure, OpenStack, DigitalOcean, Oracle
		v == 0xa9fea9fd, // 169.254.169.253: AWS resolver
		v == 0xa9fea97b, // 169.254.169.123: AWS time
		v == 0xa9feaa02, // 169.254.170.2: AWS ECS task credentials
		v == 0xa9feaa17, // 169.254.170.23: AWS EKS pod identity
		v == 0xa9fe0017, // 169.254.0.23: Tencent
		v == 0xa83f8110, // 168.63.129.16: Azure wire server
		v == 0x646464c8, // 100.100.100.200: Alibaba
		v == 0xc00000c0: // 192.0.0.192: Oracle Cloud classic
		return ClassMetadata
	case b[0] == 10, b[0] == 172 && b[1]&0xf0 == 16, b[0] == 192 && b[1] == 168:
		return ClassPrivate
	case b[0] == 169 && b[1] == 254:
		return ClassLinkLocal
	case b[0] == 100 && b[1]&0xc0 == 64: // RFC 6598
		return ClassCGNAT
	case b[0] == 192 && b[1] == 0 && b[2] == 0, // RFC 6890: IETF protocol assignments
		b[0] == 192 && b[1] == 88 && b[2] == 99: // RFC 7526: 6to4 relay anycast, deprecated
		return ClassReserved
	case b[0] == 198 && b[1]&0xfe == 18: // RFC 2544
		return ClassBenchmarking
	case b[0] == 192 && b[1] == 0 && b[2] == 2,
		b[0] == 198 && b[1] == 51 && b[2] == 100,
		b[0] == 203 && b[1] == 0 && b[2] == 113:
		return ClassDocumentation
	case v == 0xffffffff:
		return ClassBroadcast
	case b[0] >= 240:
		return ClassReserved
	case b[0] >= 224:
		return ClassMulticast
	}
	return ClassPublic
}

// classify6 follows the IANA IPv6 Special-Purpose Address Registry; outside
// 2000::/3 and the well-known NAT64 prefix nothing is ordinary unicast.
func classify6(b [16]byte) Class {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	w := binary.BigEndian.Uint32(b[:4])
	switch {
	case hi == 0 && lo == 0:
		return ClassUnspecified
	case hi == 0 && lo == 1:
		return ClassLoopback
	case hi == 0 && lo>>32 == 0: // ::a.b.c.d, RFC 4291 2.5.5.1: deprecated
		return embedded(b, 12, ClassReserved)
	case w == 0x0064ff9b && hi&0xffffffff == 0 && lo>>32 == 0: // 64:ff9b::/96, RFC 6052
		return embedded(b, 12, ClassPublic)
	case hi>>16 == 0x0064ff9b0001: // 64:ff9b:1::/48, RFC 8215
		return ClassNAT64Local
	case hi == 0xfd000ec200000000 && (lo == 0x254 || lo == 0x253 || lo == 0x123 || lo == 0x23), // AWS
		hi == 0xfd2000ce00000000 && lo == 0x254,  // Google
		hi == 0xfd00004200000000 && lo == 0x42,   // Scaleway
		hi == 0xfd00c1a8fe000000 && lo == 0xa254: // Oracle
		return ClassMetadata
	case b[0]&0xfe == 0xfc:
		return ClassPrivate
	case b[0] == 0xfe && b[1]&0xc0 == 0x80:
		return ClassLinkLocal
	case b[0] == 0xfe && b[1]&0xc0 == 0xc0:
		return ClassSiteLocal
	case b[0] == 0xff:
		return ClassMulticast
	case b[0]&0xe0 != 0x20:
		return ClassReserved
	case w == 0x20010000: // Teredo, RFC 4380: server in the clear, client with its bits inverted
		if c := embedded(b, 4, ClassPublic); !c.Free() {
			return c
		}
		for i := 12; i < 16; i++ {
			b[i] = ^b[i]
		}
		return embedded(b, 12, ClassPublic)
	case hi>>16 == 0x200100020000: // 2001:2::/48, RFC 5180
		return ClassBenchmarking
	case w&0xfffffe00 == 0x20010000: // the rest of 2001::/23: protocol assignments, ORCHID
		return ClassReserved
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056
		return embedded(b, 2, isatap(b, ClassPublic))
	case w == 0x20010db8, w>>12 == 0x3fff0: // RFC 3849, RFC 9637
		return isatap(b, ClassDocumentation)
	}
	return isatap(b, ClassPublic)
}

// embedded returns the class of the IPv4 address at offset i, or own when that
// one is free.
func embedded(b [16]byte, i int, own Class) Class {
	if c := classify4([4]byte(b[i : i+4])); !c.Free() {
		return c
	}
	return own
}

// isatap judges the IPv4 address in an ISATAP interface identifier
// (RFC 5214, 6.1: 0000:5efe or 0200:5efe before the address).
func isatap(b [16]byte, own Class) Class {
	if id := binary.BigEndian.Uint32(b[8:12]); id&^0x03000000 == 0x00005efe {
		return embedded(b, 12, own)
	}
	return own
}

// carried returns the IPv4 addresses that an IPv6 address embeds.
func carried(a netip.Addr) (out []netip.Addr) {
	if !a.Is6() || a.Is4In6() {
		return nil
	}
	b := a.As16()
	at := func(i int, mask byte) {
		out = append(out, netip.AddrFrom4([4]byte{b[i] ^ mask, b[i+1] ^ mask, b[i+2] ^ mask, b[i+3] ^ mask}))
	}
	hi := binary.BigEndian.Uint64(b[:8])
	switch {
	case hi == 0x0064ff9b<<32 && binary.BigEndian.Uint32(b[8:]) == 0:
		at(12, 0)
	case hi>>32 == 0x20010000:
		at(4, 0)
		at(12, 0xff)
	case b[0] == 0x20 && b[1] == 0x02:
		at(2, 0)
	}
	if binary.BigEndian.Uint32(b[8:12])&^0x03000000 == 0x00005efe {
		at(12, 0)
	}
	return out
}
