package audit

import (
	"io"
	"sync"
)

// batch is a number of records that are written together.
type batch struct {
	cond  sync.Cond
	buf   []byte
	count uint64    // records in it but loss records
	loss  [2]uint64 // what its loss records say
	refs  int       // Appends that will look at the outcome
	done  bool
	err   error
	next  *batch
}

// commit writes the current batch. Called with the lock held and no write under
// way; returns with the lock held, having released it meanwhile.
func (w *Writer) commit() {
	b := w.cur
	after := w.next
	w.cur = w.take()
	w.writing = true
	w.mu.Unlock()

	err := w.repair()
	if err == nil {
		var n int
		if n, err = w.f.Write(b.buf); err == nil && n < len(b.buf) {
			err = io.ErrShortWrite
		}
		if w.dirty = err != nil; w.dirty {
			// At once, so that a reader finds whole lines; if it fails, again before the
			// next write.
			w.repair() // see above
		}
	}

	w.mu.Lock()
	w.writing = false
	began := err != nil && !w.failing
	w.failing = err != nil
	if err == nil {
		w.written = after
		w.finish(b, nil)
		if w.cur.refs > 0 {
			w.cur.cond.Signal() // one of those that wait writes the next
		}
	} else {
		w.fail(b, err)
	}
	if began && w.failure != nil {
		w.mu.Unlock()
		w.failure(err)
		w.mu.Lock()
	}
}

// fail takes b, and what was chained to it meanwhile, back out of the chain.
func (w *Writer) fail(b *batch, cause error) {
	err := &WriteError{Session: w.session, Err: cause}
	next := w.cur
	w.cur = w.take()
	w.next = w.written
	w.lostDetail = cause.Error()
	for _, b := range []*batch{b, next} {
		w.lose(lostWrite, b.count)
		for cause, n := range b.loss {
			w.lost[cause] += n
		}
		w.finish(b, err)
	}
}

func (w *Writer) lose(cause int, n uint64) { w.lost[cause] += n }

// finish tells those who wait for b its outcome.
func (w *Writer) finish(b *batch, err error) {
	b.done, b.err = true, err
	if b.refs > 0 {
		b.cond.Broadcast()
	} else {
		w.release(b)
	}
}

// repair cuts a partial write off the file, so that the next line starts where
// the chain says. Called by the one who writes.
func (w *Writer) repair() error {
	if !w.dirty {
		return nil
	}
	if err := w.f.Truncate(w.written.off); err != nil {
		return err
	}
	if _, err := w.f.Seek(w.written.off, io.SeekStart); err != nil {
		return err
	}
	w.dirty = false
	return nil
}

// take returns an empty batch, release gives one back.
func (w *Writer) take() *batch {
	b := w.free
	if b == nil {
		b = &batch{buf: make([]byte, 0, 2048)}
		b.cond.L = &w.mu
		return b
	}
	w.free, b.next = b.next, nil
	return b
}

func (w *Writer) release(b *batch) {
	buf := b.buf[:0]
	if cap(buf) > keepBuffer {
		buf = make([]byte, 0, 2048)
	}
	*b = batch{buf: buf, next: w.free}
	b.cond.L = &w.mu
	w.free = b
}

func (w *Writer) tally(e Event) {
	c := &w.next.counts
	switch e := e.(type) {
	case *FlowOpen:
		if allowed(e) {
			c.Allowed++
		} else {
			c.Denied++
		}
	case *FlowClose:
		c.BytesUp += e.BytesUp
		c.BytesDown += e.BytesDown
	case *DNS:
		c.DNS++
	case *Drop:
		c.Drops += e.Count
	case *SecretUse:
		c.Secrets++
	case *Violation:
		c.Violations++
	case *Loss:
		c.Lost += e.Count
	case *SessionEnd:
		w.next.ended = true
	}
}
