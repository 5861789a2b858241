//go:build linux || darwin

package proxyrole

import (
	"net/netip"
	"strconv"

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
	case 17:
		return "udp"
	case 6:
		return "tcp"
	case 1:
		return "icmp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	case 33:
		return "dccp"
	case 136:
		return "udplite"
	case 2:
		return "igmp"
	default:
		return "ip-" + strconv.Itoa(int(n))
	}
}
