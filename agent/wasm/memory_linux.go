package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// reserve gives the module its memory out of a range of addresses that is set apart
// in one piece: growing copies nothing, and what is not used yet counts for no limit.
func reserve(_, most uint64) experimental.LinearMemory {
	all, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return &memory{}
	}
	return &memory{all: all}
}

type memory struct {
	all  []byte
	used uint64
}

// Reallocate makes the first size bytes usable; nil: there is no memory.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	if size > m.used {
		if unix.Mprotect(m.all[m.used:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		m.used = size
	}
	return m.all[:size:size]
}

// Free gives all of it back.
func (m *memory) Free() {
	unix.Munmap(m.all) //nolint:errcheck // it is one of ours
	m.all, m.used = nil, 0
}
