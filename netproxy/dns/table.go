package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

const (
	// v4Bits is the size of 198.18.0.0/15, the range for benchmarks (RFC 2544),
	// which nothing on the internet uses.
	v4Bits = 17
	v4Base = 198<<24 | 18<<16
	v4Mask = 1<<v4Bits - 1

	// DefaultNames and maxNameBytes bound a session's table.
	DefaultNames = 65536
	maxNameBytes = 4 << 20
)

// ErrFull is returned when a session has used as many names as it may.
var ErrFull = errors.New("too many names in this session")

// Table maps names to synthetic addresses and back. An address is never given
// to a second name. It is safe for concurrent use.
//
// Where the addresses begin, and in what order they are given, is random per
// session, so that an address that a tool has kept from another session hardly
// ever means some other name in this one.
type Table struct {
	max    int
	prefix [8]byte // fd00::/8 and 56 random bits (RFC 4193 section 3.2.2)
	start  uint32
	stride uint32 // odd, so it visits every address once
	undo   uint32 // inverse of stride modulo 2^17

	mu    sync.RWMutex
	index map[string]uint32
	names []string
	bytes int
}

// NewTable returns an empty table for at most max names; 0 or more than
// DefaultNames means DefaultNames.
func NewTable(max int) (*Table, error) {
	if max <= 0 || max > DefaultNames {
		max = DefaultNames
	}
	var seed [15]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("make synthetic addresses: %w", err)
	}
	t := &Table{max: max, index: make(map[string]uint32)}
	t.prefix[0] = 0xfd
	copy(t.prefix[1:], seed[:7])
	t.start = binary.BigEndian.Uint32(seed[7:]) & v4Mask
	t.stride = binary.BigEndian.Uint32(seed[11:])&v4Mask | 1
	// Newton: each round doubles the number of right bits.
	t.undo = t.stride
	for range 5 {
		t.undo *= 2 - t.stride*t.undo
	}
	return t, nil
}

// Address returns the address of name, which must be canonical, giving it one
// if it has none yet.
func (t *Table) Address(name string, v6 bool) (netip.Addr, error) {
	t.mu.RLock()
	i, ok := t.index[name]
	t.mu.RUnlock()
	if !ok {
		var err error
		if i, err = t.add(name); err != nil {
			return netip.Addr{}, err
		}
	}
	return t.at(i, v6), nil
}

// known returns a name that has an address, and that, without allocation.
func (t *Table) known(name []byte, v6 bool) (string, netip.Addr, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, ok := t.index[string(name)]
	if !ok {
		return "", netip.Addr{}, false
	}
	return t.names[i], t.at(i, v6), true
}

func (t *Table) add(name string) (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index[name]; ok {
		return i, nil
	}
	if len(t.names) >= t.max || t.bytes+len(name) > maxNameBytes {
		return 0, ErrFull
	}
	i := uint32(len(t.names))
	t.names = append(t.names, name)
	t.index[name] = i
	t.bytes += len(name)
	return i, nil
}

func (t *Table) at(i uint32, v6 bool) netip.Addr {
	offset := (t.start + i*t.stride) & v4Mask
	if !v6 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], v4Base+offset)
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	copy(a[:], t.prefix[:])
	a[11] = 1 // never the subnet-router anycast address
	binary.BigEndian.PutUint32(a[12:], offset)
	return netip.AddrFrom16(a)
}

// Lookup returns the name that a synthetic address was given to. A nil Table
// knows none.
func (t *Table) Lookup(a netip.Addr) (name string, ok bool) {
	offset, ok := t.offset(a)
	if !ok {
		return "", false
	}
	i := ((offset - t.start) * t.undo) & v4Mask
	t.mu.RLock()
	defer t.mu.RUnlock()
	if int(i) >= len(t.names) {
		return "", false
	}
	return t.names[i], true
}

// Synthetic reports whether a is in a range that the table gives addresses
// from. Such an address without a name is nowhere: a connection to it is to be
// refused.
func (t *Table) Synthetic(a netip.Addr) bool {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])&^v4Mask == v4Base
	}
	if t == nil || !a.Is6() {
		return false
	}
	b := a.As16()
	return [8]byte(b[:8]) == t.prefix
}

// Ranges are those that Synthetic reports.
func (t *Table) Ranges() []netip.Prefix {
	v4 := netip.AddrFrom4([4]byte{v4Base >> 24, v4Base >> 16 & 0xff})
	out := []netip.Prefix{netip.PrefixFrom(v4, 32-v4Bits)}
	if t != nil {
		var b [16]byte
		copy(b[:], t.prefix[:])
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(b), 64))
	}
	return out
}

// offset is the reverse of at, up to the order in which addresses are given.
func (t *Table) offset(a netip.Addr) (uint32, bool) {
	if t == nil || !t.Synthetic(a) {
		return 0, false
	}
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:]) & v4Mask, true
	}
	b := a.As16()
	offset := binary.BigEndian.Uint32(b[12:])
	if a.Zone() != "" || binary.BigEndian.Uint32(b[8:]) != 1 || offset > v4Mask {
		return 0, false
	}
	return offset, true
}

// Len returns how many names have an address.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.names)
}
