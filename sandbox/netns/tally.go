package netns

import "net/netip"

// maxDrops bounds the distinct destinations that one Read tells apart.
const maxDrops = 256

// tally sums reports of refused packets by destination, and counts those that
// did not arrive: the kernel numbers reports, also those for which its buffer
// had no room.
type tally struct {
	next   uint32 // expected number of the next report
	credit uint64 // told as lost before the number that proves it has come

	drops []Drop
	lost  uint64
	index map[dropKey]int
}

type dropKey struct {
	proto uint8
	dst   netip.AddrPort
}

func (t *tally) add(p packet) {
	if p.hasSeq {
		gap := uint64(p.seq - t.next) // wraps as the kernel's counter does
		t.next = p.seq + 1
		told := min(gap, t.credit)
		t.lost += gap - told
		t.credit = 0
	}
	key := dropKey{p.proto, netip.AddrPortFrom(p.dst, p.port)}
	i, ok := t.index[key]
	switch {
	case !p.dst.IsValid():
		t.lost++
	case ok:
		t.drops[i].Count++
	case len(t.drops) == maxDrops:
		t.lost++
	default:
		if t.index == nil {
			t.index = make(map[dropKey]int)
		}
		t.index[key] = len(t.drops)
		t.drops = append(t.drops, Drop{Proto: p.proto, Dst: p.dst, Port: p.port, Count: 1})
	}
}

// overflow is called when the kernel says that its buffer was full. How many
// reports that cost is known with the next one; until then it is at least one.
func (t *tally) overflow() {
	if t.credit == 0 {
		t.credit = 1
		t.lost++
	}
}

// empty reports whether there is nothing to tell.
func (t *tally) empty() bool { return len(t.drops) == 0 && t.lost == 0 }

// take returns what was summed since the last take.
func (t *tally) take() ([]Drop, uint64) {
	drops, lost := t.drops, t.lost
	t.drops, t.lost, t.index = nil, 0, nil
	return drops, lost
}
