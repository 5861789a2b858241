package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/penstock/penstock/ebpf"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// loadPrograms sweeps what a dead daemon left and loads the programs on the
// groups, which are empty.
func loadPrograms(pins string, groups *cgroup.Tree) (*ebpf.Programs, error) {
	if err := ebpf.Sweep(pins); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	own4, own6 := netns.OwnAddrs()
	pen, slot := groups.Levels()
	return ebpf.Load(ebpf.Options{
		PinDir: pins, PensCgroup: groups.Pens(), ProxiesCgroup: groups.Proxies(), PenLevel: pen, SlotLevel: slot,
		Pen: ebpf.Pen{Own4: own4, Own6: own6, CapturePort: netns.CapturePort, ExplicitPort: netns.ExplicitPort, DNSPort: netns.DNSPort},
	})
}

// watched is what the programs keep of one session; nil without eBPF.
type watched struct {
	programs *ebpf.Programs
	session  *ebpf.Session
	slot     *ebpf.Slot
	proxy    uint64 // group
	always   []ebpf.Allowed
}

// watch begins it. pen and proxy are the session's groups, of which the first is
// empty and in the second a proxy that waits for us.
func watch(p *ebpf.Programs, pen, proxy *cgroup.Group) (*watched, error) {
	session, err := p.AddSession(pen.ID())
	if err != nil {
		return nil, err
	}
	w := &watched{programs: p, session: session, proxy: proxy.ID()}
	for _, a := range resolvers() {
		w.always = append(w.always, ebpf.Allowed{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: 53})
	}
	if w.slot, err = p.AddSlot(w.proxy, w.always); err != nil {
		session.Close()
		return nil, err
	}
	return w, nil
}

func (w *watched) close() error {
	if w == nil {
		return nil
	}
	return errors.Join(w.slot.Close(), w.session.Close())
}

// events is the ring that the proxy reads.
func (w *watched) events() (*os.File, error) {
	if w == nil {
		return nil, nil
	}
	return w.session.Events()
}

// steer makes the pen's connections arrive at its sockets.
func (w *watched) steer(ns *os.File, sockets map[string]*os.File) error {
	if w == nil {
		return nil
	}
	return w.session.Steer(ns, sockets["capture4"], sockets["capture6"])
}

// maxAllowed bounds what one session puts into the guard's map, which all share.
const maxAllowed = 128

// guard lets the proxy reach what it asks for, beside public addresses.
func (w *watched) guard(reach []bossctl.Reach) error {
	if w == nil {
		return nil // nothing guards it
	}
	allow := append(append([]ebpf.Allowed(nil), w.always...), allowed(reach)...)
	if len(allow) > maxAllowed {
		return fmt.Errorf("the policy needs %d ranges of addresses and ports beside public ones, more than %d", len(allow), maxAllowed)
	}
	if err := w.slot.Close(); err != nil {
		return err
	}
	slot, err := w.programs.AddSlot(w.proxy, allow)
	if err == nil {
		w.slot = slot
	}
	return err
}

// deny has the kernel refuse the pen's connections to these addresses. Without
// eBPF the proxy alone does.
func (w *watched) deny(prefixes []netip.Prefix) error {
	if w == nil {
		return nil
	}
	return w.session.Deny(prefixes)
}

// maxPorts is how many ports of a range are told one by one. The guard knows one
// port or all; of a wider range it lets all pass, and the proxy's own dial guard
// decides alone.
const maxPorts = 8

func allowed(reach []bossctl.Reach) (out []ebpf.Allowed) {
	for _, r := range reach {
		if r.To-r.From >= maxPorts {
			out = append(out, ebpf.Allowed{Prefix: r.Prefix})
			continue
		}
		for port := int(r.From); port <= int(r.To); port++ {
			out = append(out, ebpf.Allowed{Prefix: r.Prefix, Port: uint16(port)})
		}
	}
	return out
}

// resolvers are the name servers of the host, which every proxy asks.
func resolvers() []netip.Addr {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		text = nil
	}
	return nameServers(string(text))
}

// maxServers is how many name servers a resolver uses (resolv.conf(5), MAXNS).
const maxServers = 3

// nameServers reads resolv.conf(5).
func nameServers(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" || len(out) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	if out == nil {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return out
}

// capabilities are what the machine gives every session beside limits. What is
// not there and not needed (only LSM programs can be that) is told when all is
// asked for: a session that lacks a control would not begin.
func (d *Daemon) capabilities(all bool) (out []sandbox.Capability) {
	if d.cfg.Programs == nil {
		return []sandbox.Capability{{Control: "steering", State: sandbox.Enforced, By: "nftables", Detail: "no eBPF: " + d.cfg.NoPrograms}}
	}
	for _, f := range d.cfg.Programs.Features() {
		switch {
		case f.State == ebpf.Available:
			out = append(out, sandbox.Capability{Control: f.Name, State: sandbox.Enforced, By: "eBPF"})
		case all:
			out = append(out, sandbox.Capability{Control: f.Name, State: sandbox.Unavailable, Detail: oneLine(f.Reason)})
		}
	}
	return out
}
