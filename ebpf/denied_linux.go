package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	cilium "github.com/cilium/ebpf"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// SetDenied makes prefixes the addresses that no session may connect or send to
// and no proxy without an entry of its own. What was denied before and still is
// stays so at every moment; a pen's own addresses are never denied. On an error
// some of the new prefixes may be missing, and none of the old ones is.
func (p *Programs) SetDenied(prefixes []netip.Prefix) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("set denied addresses: the programs are closed")
	}
	want := map[netip.Prefix]bool{}
	for _, prefix := range prefixes {
		if !prefix.IsValid() {
			return errors.New("set denied addresses: one is no prefix")
		}
		want[unmap(prefix)] = true
	}
	for prefix := range want {
		if p.denied[prefix] {
			continue
		}
		m, key := p.deniedKey(prefix)
		if err := m.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("set denied addresses: %s: %w", prefix, err)
		}
		p.denied[prefix] = true
	}
	for prefix := range p.denied {
		if want[prefix] {
			continue
		}
		m, key := p.deniedKey(prefix)
		if err := m.Delete(key); err != nil && !errors.Is(err, cilium.ErrKeyNotExist) {
			return fmt.Errorf("set denied addresses: remove %s: %w", prefix, err)
		}
		delete(p.denied, prefix)
	}
	return nil
}

// unmap cuts the address of a prefix down to its bits, and writes ::ffff:0:0/96
// and what is below it as IPv4.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// deniedKey is a prefix as the key of a trie: its length as a word of the
// machine, then the address in network byte order.
func (p *Programs) deniedKey(prefix netip.Prefix) (*cilium.Map, []byte) {
	key := binary.NativeEndian.AppendUint32(nil, uint32(prefix.Bits()))
	name := objects.PenMapDenied6
	if prefix.Addr().Is4() {
		name = objects.PenMapDenied4
	}
	return p.pen.Maps[name], append(key, prefix.Addr().AsSlice()...)
}
