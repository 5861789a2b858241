package chain

// Stats counts what a hook did.
type Stats struct {
	Hook    string
	Asked   uint64 // times, the others included
	Denied  uint64
	Replied uint64
	Failed  uint64 // denied because it gave no answer
	Open    bool   // it is not being asked, because it failed several times
}

// Stats returns the counts so far, in the hooks' order.
func (c *Chain) Stats() []Stats {
	if c == nil {
		return nil
	}
	out := make([]Stats, 0, len(c.links))
	for _, l := range c.links {
		out = append(out, Stats{l.Name, l.count.asked.Load(), l.count.denied.Load(), l.count.replied.Load(), l.count.failed.Load(), l.breaker.isOpen()})
	}
	return out
}
