package events

// tally bounds what is told of one kind of thing: the first ones by themselves, the
// others by how many they are.
type tally struct {
	told uint64
	rest uint64 // not told of yet
	all  uint64 // not told one by one, ever
	at   uint64 // of all, when the rest is told next
}

// one says whether the next is among the first.
func (t *tally) one(most uint64) bool {
	if t.told >= most {
		return false
	}
	t.told++
	return true
}

// more counts one that is not told by itself. Of these is told when there are 1, 10,
// 100 and so on, and at the end.
func (t *tally) more() (tell bool) {
	t.rest++
	t.all++
	if t.all < t.at {
		return false
	}
	t.at = 10 * t.all
	return true
}

// flush returns how many were not told of.
func (t *tally) flush() uint64 {
	n := t.rest
	t.rest = 0
	return n
}
