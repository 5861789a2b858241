package ebpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	cilium "github.com/cilium/ebpf"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// packet is a datagram as the hooks at egress and ingress see it.
func packet(proto byte, source, target string) []byte {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(target)
	b := make([]byte, 14) // the test run takes off a link's header
	if s.Addr().Is4() {
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		b = append(b, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, proto, 0, 0)
	} else {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		b = append(b, 0x60, 0, 0, 0, 0, 8, proto, 64)
	}
	b = append(append(b, s.Addr().AsSlice()...), d.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	b = binary.BigEndian.AppendUint16(b, d.Port())
	return append(b, 0, 8, 0, 0)
}

// TestRunPackets runs the packet hooks over packets that belong to no session:
// whatever is in them, they pass, since they are not ours to judge.
func TestRunPackets(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{objects.PenProgPenEgress, objects.PenProgPenIngress} {
		for _, b := range [][]byte{
			packet(17, "192.0.0.8:1000", "8.8.8.8:443"), packet(17, "[fd00::1]:1000", "[2001:db8::1]:53"), packet(6, "1.1.1.1:1", "2.2.2.2:2"),
			packet(1, "1.1.1.1:1", "2.2.2.2:2"), packet(17, "192.0.0.8:1000", "8.8.8.8:443")[:34], append(make([]byte, 12), 0x86, 0xdd, 1, 2),
		} {
			ret, _, err := r.p.pen.Programs[name].Test(b)
			if err != nil && errors.Is(err, cilium.ErrNotSupported) {
				t.Skip(err)
			}
			if err != nil && len(b) < 34 { // the kernel wants a whole header
				continue
			}
			if err != nil || ret != 1 {
				t.Errorf("%s %x: %d %v", name, b, ret, err)
			}
		}
	}
}

// lookup is struct bpf_sk_lookup of the kernel's interface.
func lookup(proto uint32, client, local string) []byte {
	c, l := netip.MustParseAddrPort(client), netip.MustParseAddrPort(local)
	b := make([]byte, 8) // cookie, set by the run
	ne := binary.NativeEndian
	family := uint32(2)
	if l.Addr().Is6() {
		family = 10
	}
	b = ne.AppendUint32(b, family)
	b = ne.AppendUint32(b, proto)
	put := func(a netip.Addr) {
		four, six := make([]byte, 4), make([]byte, 16)
		if a.Is4() {
			copy(four, a.AsSlice())
		} else {
			copy(six, a.AsSlice())
		}
		b = append(append(b, four...), six...)
	}
	put(c.Addr())
	b = binary.BigEndian.AppendUint16(b, c.Port())
	b = append(b, 0, 0)
	put(l.Addr())
	b = ne.AppendUint32(b, uint32(l.Port()))
	return append(ne.AppendUint32(b, 0), 0, 0, 0, 0) // ingress_ifindex, padding
}

// TestRunSteering runs the steering program without a listener: what it would
// steer it drops, what is the pen's own passes.
func TestRunSteering(t *testing.T) {
	needRoot(t)
	spec, err := steerSpec(penOptions())
	must(t, err)
	st, err := loadSteering(spec)
	must(t, err)
	defer st.close()
	const drop, pass = 0, 1
	for _, c := range []struct {
		proto uint32
		local string
		want  uint32
	}{
		{6, "1.2.3.4:80", drop}, {6, "10.0.0.1:22", drop}, {6, "169.254.169.254:80", drop}, {6, "1.2.3.4:1", drop}, {6, "1.2.3.4:808", drop}, {6, "0.0.0.0:80", drop},
		{6, "127.0.0.1:80", pass}, {6, "127.255.0.1:80", pass}, {6, "192.0.0.8:80", pass}, {6, "127.0.0.1:808", pass}, {6, "128.0.0.1:80", drop}, {6, "126.255.255.255:80", drop},
		{6, "127.0.0.1:1", drop}, {6, "192.0.0.8:1", drop}, {6, "[::1]:1", drop},
		{6, "1.2.3.4:53", pass}, {6, "[2001:db8::1]:53", pass}, {17, "1.2.3.4:443", pass},
		{6, "[::1]:80", pass}, {6, "[::2]:80", drop}, {6, "[2001:db8::1]:80", drop}, {6, "[fd70:656e:7374:6f63::1]:80", pass}, {6, "[fd70:656e:7374:6f63::2]:80", drop}, {6, "[::ffff:127.0.0.1]:80", drop},
	} {
		client := "192.0.0.8:40000"
		if netip.MustParseAddrPort(c.local).Addr().Is6() {
			client = "[fd70:656e:7374:6f63::1]:40000"
		}
		ret, err := st.c.Programs[objects.SteerProgPenSteer].Run(&cilium.RunOptions{Context: lookup(c.proto, client, c.local)})
		if errors.Is(err, cilium.ErrNotSupported) {
			t.Skip(err) // before 5.14
		}
		if err != nil || ret != c.want {
			t.Errorf("%d %s: %d %v, want %d", c.proto, c.local, ret, err, c.want)
		}
	}
}

// TestRunTracepoints: outside of any session the process hooks do nothing,
// whatever they are given.
func TestRunTracepoints(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{objects.ProcessProgPenFork, objects.ProcessProgPenExec, objects.ProcessProgPenExit} {
		ret, err := r.p.process.Programs[name].Run(&cilium.RunOptions{Context: make([]byte, 24)})
		if errors.Is(err, cilium.ErrNotSupported) {
			t.Skip(err)
		}
		if err != nil || ret != 0 {
			t.Errorf("%s: %d %v", name, ret, err)
		}
	}
}
