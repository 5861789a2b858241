package dns

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	toldSets, toldWays = 1024, 4
	toldBurst          = 1000 // events at once
	toldRate           = 50   // events a second after that
)

// told remembers, in a fixed 32 KiB, which questions were recorded lately, and
// bounds the rate at which new ones are. It is safe for concurrent use.
type told struct {
	now  func() time.Time
	seed maphash.Seed

	mu     sync.Mutex
	seen   *[toldSets][toldWays]uint64 // made at the first question
	next   [toldSets]uint8
	tokens float64
	last   time.Time
	missed uint64
}

func newTold(now func() time.Time) *told {
	return &told{now: now, seed: maphash.MakeSeed(), tokens: toldBurst, last: now()}
}

// first reports whether q is to be recorded, and if so how many were not since
// the last that was.
func (t *told) first(q *question) (ok bool, missed uint64) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	var lowered [255]byte
	n := copy(lowered[:], q.name.Data[:q.name.Length])
	for i, c := range lowered[:n] {
		if c >= 'A' && c <= 'Z' { // 0x20 casing doesn't make another question
			lowered[i] = c + 'a' - 'A'
		}
	}
	h.Write(lowered[:n])
	h.Write([]byte{byte(q.kind >> 8), byte(q.kind), byte(q.rcode >> 8), byte(q.rcode)})
	key := h.Sum64() | 1<<63 // never 0, which is an empty place

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = new([toldSets][toldWays]uint64)
	}
	set := key % toldSets
	for _, k := range t.seen[set] {
		if k == key {
			return false, 0
		}
	}
	t.seen[set][t.next[set]%toldWays] = key
	t.next[set]++

	now := t.now()
	t.tokens = min(toldBurst, t.tokens+now.Sub(t.last).Seconds()*toldRate)
	t.last = now
	if t.tokens < 1 {
		t.missed++
		return false, 0
	}
	t.tokens--
	missed, t.missed = t.missed, 0
	return true, missed
}
