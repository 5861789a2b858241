package proxyrole

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/netns"
)

// readDrops records what was refused by the pen's packet filter: once per
// destination and batch, with the count.
func (e *engine) readDrops(d *netns.Drops) error {
	for {
		drops, lost, err := d.Read()
		if err != nil {
			return err
		}
		for _, drop := range drops {
			e.writer.Note(&audit.Drop{Protocol: protocolName(drop.Proto), Destination: netip.AddrPortFrom(drop.Dst, drop.Port), Count: drop.Count})
		}
		if lost > 0 {
			e.writer.Note(&audit.Drop{Protocol: "unknown", Count: lost})
		}
	}
}

// protocolName is an IP protocol number's name in the audit (IANA's, lower case).
func protocolName(n uint8) string {
	switch n {
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_DCCP:
		return "dccp"
	case unix.IPPROTO_UDPLITE:
		return "udplite"
	case unix.IPPROTO_IGMP:
		return "igmp"
	default:
		return "ip-" + strconv.Itoa(int(n))
	}
}
