package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	cilium "github.com/cilium/ebpf"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// Deny adds prefixes to the addresses that no process of the session may make a
// connection to: connect(2) fails with EACCES. The pen's own addresses are never
// denied, nor is port 53 of any, where our resolver is. All of a session's are at
// most MaxDenied. On an error some of prefixes may be denied; Close forgets them.
func (s *Session) Deny(prefixes []netip.Prefix) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.closed || s.p.sessions[s.id] != s {
		return errors.New("deny addresses: the session has ended")
	}
	if len(s.denied)+len(prefixes) > MaxDenied {
		return fmt.Errorf("deny addresses: more than %d", MaxDenied)
	}
	for _, prefix := range prefixes {
		if !prefix.IsValid() {
			return errors.New("deny addresses: one is no prefix")
		}
		key := deniedKey(s.id, prefix)
		if err := s.p.pen.Maps[objects.PenMapDenials].Put(key, uint8(1)); err != nil {
			return fmt.Errorf("deny addresses: %s: %w", prefix, err)
		}
		s.denied = append(s.denied, key)
	}
	return nil
}

// forgetDenied undoes Deny. p.mu is held.
func (s *Session) forgetDenied() (err error) {
	for _, key := range s.denied {
		if derr := s.p.pen.Maps[objects.PenMapDenials].Delete(key); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("remove denied address: %w", derr))
		}
	}
	s.denied = nil
	return err
}

// deniedKey is struct denied_key of bpf/pen.c.
func deniedKey(id uint64, prefix netip.Prefix) []byte {
	ne := binary.NativeEndian
	family, bits, addr := wide(prefix)
	key := ne.AppendUint32(nil, uint32(96+bits))
	key = ne.AppendUint32(key, uint32(id>>32))
	key = ne.AppendUint32(key, uint32(id))
	key = ne.AppendUint32(key, uint32(family))
	return append(key, addr[:]...)
}

// wide is a prefix among the 16 bytes that the programs have of every address, and
// the family beside them.
func wide(prefix netip.Prefix) (family uint16, bits int, addr [16]byte) {
	family, bits = 6, prefix.Bits()
	if prefix.Addr().Is4() {
		family, bits = 4, bits+96
	} else if prefix.Addr().Is4In6() && bits >= 96 {
		family = 4
	}
	return family, bits, netip.PrefixFrom(netip.AddrFrom16(prefix.Addr().As16()), bits).Masked().Addr().As16()
}
