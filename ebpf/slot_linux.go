package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	cilium "github.com/cilium/ebpf"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// Slot is what the guard keeps of one proxy. Its methods may be called
// concurrently.
type Slot struct {
	p    *Programs
	id   uint64
	keys [][]byte
}

// AddSlot tells the guard what the proxy in the group of that number may reach
// of special addresses; without a slot it may reach none of them.
func (p *Programs) AddSlot(cgroupID uint64, allow []Allowed) (*Slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("add slot: the programs are closed")
	}
	if p.slots[cgroupID] != nil {
		return nil, fmt.Errorf("add slot: group %d has one", cgroupID)
	}
	s := &Slot{p: p, id: cgroupID}
	if err := s.fill(allow); err != nil {
		return nil, errors.Join(fmt.Errorf("add slot: %w", err), s.release())
	}
	p.slots[cgroupID] = s
	return s, nil
}

func (s *Slot) fill(allow []Allowed) error {
	if err := s.p.guard.Maps[objects.GuardMapSlots].Put(s.id, uint64(0)); err != nil {
		return err
	}
	for _, a := range allow {
		if !a.Prefix.IsValid() {
			return errors.New("an allowed address is no prefix")
		}
		key := allowedKey(s.id, a)
		if err := s.p.guard.Maps[objects.GuardMapAllowed].Put(key, uint8(1)); err != nil {
			return fmt.Errorf("allow %s: %w", a.Prefix, err)
		}
		s.keys = append(s.keys, key)
	}
	return nil
}

// allowedKey is struct allowed_key of bpf/guard.c.
func allowedKey(id uint64, a Allowed) []byte {
	ne := binary.NativeEndian
	family, bits, addr := wide(a.Prefix)
	key := ne.AppendUint32(nil, uint32(96+bits))
	key = ne.AppendUint32(key, uint32(id>>32))
	key = ne.AppendUint32(key, uint32(id))
	key = ne.AppendUint16(key, a.Port)
	key = ne.AppendUint16(key, family)
	return append(key, addr[:]...)
}

// Denied is how often the guard refused something. A proxy that keeps to its own
// dial guard never gets there.
func (s *Slot) Denied() (uint64, error) {
	var n uint64
	if err := s.p.guard.Maps[objects.GuardMapSlots].Lookup(s.id, &n); err != nil {
		return 0, fmt.Errorf("read counter of slot: %w", err)
	}
	return n, nil
}

// Close forgets what the slot allowed. It may be called twice.
func (s *Slot) Close() error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.slots[s.id] != s {
		return nil
	}
	delete(s.p.slots, s.id)
	return s.release()
}

func (s *Slot) release() (err error) {
	for _, key := range s.keys {
		if derr := s.p.guard.Maps[objects.GuardMapAllowed].Delete(key); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("remove slot: %w", derr))
		}
	}
	if derr := s.p.guard.Maps[objects.GuardMapSlots].Delete(s.id); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
		err = errors.Join(err, fmt.Errorf("remove slot: %w", derr))
	}
	return err
}
