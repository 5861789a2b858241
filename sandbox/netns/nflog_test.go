package netns

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
)

// report packs a log report as the kernel does.
func nflogReport(seq uint32, etherType uint16, payload []byte) []byte {
	attr := func(p []byte, typ uint16, body []byte) []byte {
		p = binary.NativeEndian.AppendUint16(p, uint16(4+len(body)))
		p = binary.NativeEndian.AppendUint16(p, typ)
		p = append(p, body...)
		for len(p)%4 != 0 {
			p = append(p, 0)
		}
		return p
	}
	body := []byte{2, 0, 0, 1}
	body = attr(body, nfulaPacketHdr, append(binary.BigEndian.AppendUint16(nil, etherType), 3, 0))
	body = attr(body, nfulaPayload, payload)
	body = attr(body, nfulaSeq, binary.BigEndian.AppendUint32(nil, seq))
	p := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	p = binary.NativeEndian.AppendUint16(p, nfnlSubsysULOG<<8|nfulMsgPacket)
	return append(append(p, make([]byte, 10)...), body...)
}

func ipv4(proto byte, dst string, rest ...byte) []byte {
	p := make([]byte, 20)
	p[0], p[9] = 0x45, proto
	a := netip.MustParseAddr(dst).As4()
	copy(p[16:], a[:])
	return append(p, rest...)
}

func ipv6(next byte, dst string, rest ...byte) []byte {
	p := make([]byte, 40)
	p[0], p[6] = 0x60, next
	a := netip.MustParseAddr(dst).As16()
	copy(p[24:], a[:])
	return append(p, rest...)
}

func TestParseReports(t *testing.T) {
	options := ipv4(17, "8.8.8.8", 1, 1, 1, 1, 0, 1, 1, 187)
	options[0] = 0x46
	fragment := ipv4(17, "8.8.8.8", 0, 1, 1, 187)
	fragment[7] = 1
	broken := ipv4(17, "8.8.8.8", 0, 1, 1, 187)
	broken[0] = 0x41
	for _, tc := range []struct {
		name    string
		ether   uint16
		payload []byte
		want    packet
	}{
		{"udp", 0x0800, ipv4(17, "8.8.8.8", 0, 1, 1, 187), packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8"), port: 443}},
		{"sctp", 0x0800, ipv4(132, "8.8.8.8", 0, 1, 1, 187), packet{proto: 132, dst: netip.MustParseAddr("8.8.8.8"), port: 443}},
		{"icmp has no port", 0x0800, ipv4(1, "8.8.8.8", 8, 0, 1, 187), packet{proto: 1, dst: netip.MustParseAddr("8.8.8.8")}},
		{"options", 0x0800, options, packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8"), port: 443}},
		{"later fragment", 0x0800, fragment, packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8")}},
		{"header length too small", 0x0800, broken, packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8")}},
		{"cut before the port", 0x0800, ipv4(17, "8.8.8.8", 0, 1, 1), packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8")}},
		{"cut header", 0x0800, ipv4(17, "8.8.8.8")[:19], packet{}},
		{"wrong version", 0x0800, ipv6(17, "2001:db8::1"), packet{}},
		{"empty", 0x0800, nil, packet{}},
		{"another ether type", 0x0806, ipv4(17, "8.8.8.8"), packet{}},
		{"udp6", 0x86dd, ipv6(17, "2001:db8::1", 0, 1, 1, 187), packet{proto: 17, dst: netip.MustParseAddr("2001:db8::1"), port: 443}},
		{"hop-by-hop then udp", 0x86dd, ipv6(0, "2001:db8::1", 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 187), packet{proto: 17, dst: netip.MustParseAddr("2001:db8::1"), port: 443}},
		{"first fragment", 0x86dd, ipv6(44, "2001:db8::1", 17, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 187), packet{proto: 17, dst: netip.MustParseAddr("2001:db8::1"), port: 443}},
		{"later fragment6", 0x86dd, ipv6(44, "2001:db8::1", 17, 0, 0, 9, 0, 0, 0, 0, 0, 1, 1, 187), packet{proto: 44, dst: netip.MustParseAddr("2001:db8::1")}},
		{"extension beyond the packet", 0x86dd, ipv6(60, "2001:db8::1", 17, 255, 0, 0), packet{proto: 60, dst: netip.MustParseAddr("2001:db8::1")}},
		{"mapped destination", 0x86dd, ipv6(17, "::ffff:8.8.8.8", 0, 1, 1, 187), packet{proto: 17, dst: netip.MustParseAddr("8.8.8.8"), port: 443}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.seq, tc.want.hasSeq = 7, true
			var got []packet
			parseReports(nflogReport(7, tc.ether, tc.payload), func(p packet) { got = append(got, p) })
			if len(got) != 1 || got[0] != tc.want {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestTally(t *testing.T) {
	a, b := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2001:db8::1")
	at := func(seq uint32, dst netip.Addr) packet {
		return packet{proto: 17, dst: dst, port: 443, seq: seq, hasSeq: true}
	}
	var c tally
	if !c.empty() {
		t.Fatal("not empty")
	}
	c.add(at(0, a))
	c.add(at(1, b))
	c.add(at(2, a))
	drops, lost := c.take()
	if want := []Drop{{17, a, 443, 2}, {17, b, 443, 1}}; !reflect.DeepEqual(drops, want) || lost != 0 {
		t.Fatalf("%v, %d", drops, lost)
	}
	c.add(at(10, a)) // 3 to 9 did not come
	if _, lost := c.take(); lost != 7 {
		t.Fatalf("lost %d, want 7", lost)
	}
	c.overflow()
	c.overflow()
	if _, lost := c.take(); lost != 1 {
		t.Fatalf("lost %d, want 1 so far", lost)
	}
	c.add(at(21, a)) // 11 to 20
	if _, lost := c.take(); lost != 9 {
		t.Fatalf("lost %d, want the other 9", lost)
	}
	c.next = 0xffffffff
	c.add(at(0xffffffff, a))
	c.add(at(0, a))
	if _, lost := c.take(); lost != 0 {
		t.Fatalf("lost %d at the wrap", lost)
	}
	c.add(packet{}) // unreadable
	for i := range 2 * maxDrops {
		c.add(packet{proto: 17, dst: a, port: uint16(i)})
	}
	if drops, lost := c.take(); len(drops) != maxDrops || lost != maxDrops+1 {
		t.Fatalf("%d told apart, lost %d", len(drops), lost)
	}
}

// FuzzReport holds for any bytes: no crash, and nothing is yielded that the
// message had no room for.
func FuzzReport(f *testing.F) {
	f.Add(nflogReport(1, 0x0800, ipv4(17, "8.8.8.8", 0, 1, 1, 187)))
	f.Add(nflogReport(2, 0x86dd, ipv6(0, "2001:db8::1", 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 187)))
	f.Add(nflogReport(3, 0x86dd, ipv6(60, "2001:db8::1", 60, 0, 0, 0, 0, 0, 0, 0, 60, 0)))
	f.Add(append(nflogReport(4, 0x0800, ipv4(132, "8.8.8.8")), nflogReport(5, 0x0800, nil)...))
	f.Add([]byte{20, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		n := 0
		var c tally
		parseReports(p, func(r packet) {
			n++
			if r.dst.Is4In6() || r.port != 0 && !r.dst.IsValid() {
				t.Fatalf("%+v", r)
			}
			c.add(r)
		})
		if n > len(p)/20 {
			t.Fatalf("%d reports in %d bytes", n, len(p))
		}
		if drops, _ := c.take(); len(drops) > n {
			t.Fatal("more drops than reports")
		}
	})
}
