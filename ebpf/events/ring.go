package events

import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// ring is a BPF ring buffer in memory (Documentation/bpf/ringbuf.rst): the
// kernel writes records and moves the producer's position, we move the
// consumer's. The data area is mapped twice in a row, so that no record wraps.
type ring struct {
	consumer, producer *uint64
	data               []byte // 2 * size
	size               uint64
	broken             error
}

// Flags in the length of a record.
const (
	recordBusy    = 1 << 31
	recordDiscard = 1 << 30
	recordHead    = 8
)

var errRing = errors.New("read ring of events: its positions make no sense")

// state is why drain stopped.
type state int

const (
	empty state = iota
	busy        // the next record is being written
	more        // there may be some: somebody else may go first
	broken
)

// drain calls f for each record that is there. What f gets is valid only during
// the call.
func (r *ring) drain(f func([]byte)) state {
	if r.broken != nil {
		return broken
	}
	at := atomic.LoadUint64(r.consumer)
	for {
		end := atomic.LoadUint64(r.producer)
		if at == end {
			return empty
		}
		// The kernel keeps these; they are checked so that nothing that is in
		// this memory can make us read outside of it.
		if end-at > r.size || at%8 != 0 {
			r.broken = errRing
			return broken
		}
		for at < end {
			offset := at & (r.size - 1)
			head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[offset])))
			if head&recordBusy != 0 {
				return busy
			}
			n := uint64(head &^ (recordBusy | recordDiscard))
			next := at + (recordHead+n+7)&^7
			if next > end {
				r.broken = errRing
				return broken
			}
			if head&recordDiscard == 0 {
				f(r.data[offset+recordHead : offset+recordHead+n])
			}
			at = next
			// At once: the kernel can use the room again.
			atomic.StoreUint64(r.consumer, at)
		}
	}
}
