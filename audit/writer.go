package audit

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"time"
)

// Bounds of the Writer's memory, in bytes of encoded records.
const (
	maxPending  = 256 << 10             // Note drops beyond
	hurry       = 64 << 10              // Note asks for a write at once beyond
	keepBuffer  = 128 << 10             // a larger buffer is given back
	noteLatency = 20 * time.Millisecond // a Note's record is written this late at most
)

// Writer is the one writer of a session's file. Its methods are safe for
// concurrent use. The zero value is not usable, see NewWriter.
//
// Records are numbered and chained under a lock, in the order in which Append
// and Note are called, and gathered in a batch. Whoever finds no write under way
// writes the whole batch with one write(2), without a switch to another
// goroutine; those that come meanwhile fill the next batch and one of them
// writes that.
type Writer struct {
	f       *os.File
	session string
	failure func(error)
	timer   *time.Timer

	mu      sync.Mutex
	line    line // encoder; its buf is borrowed from cur
	cur     *batch
	free    *batch
	writing bool
	closed  bool
	armed   bool // timer will fire
	failing bool // the last write failed
	dirty   bool // the file may hold bytes after written.off
	secrets []redaction

	next    position // after all records in cur
	written position // after all records in the file

	lost       [2]uint64 // records not written, per cause
	lostDetail string
}

// position is a place in the chain.
type position struct {
	seq    uint64
	head   [32]byte
	off    int64 // length of the file
	ended  bool  // a session_end is the last record that this Writer makes
	counts Counts
}

// Causes of a loss.
const (
	lostWrite = iota
	lostMemory
)

// NewWriter returns the writer of session's records to f, which it owns from
// then on. f is open for writing and, unless it is empty, for reading; with
// O_APPEND nothing can be overwritten by mistake. If f holds records, of a
// writer that died, the chain goes on after them; an unfinished line is cut off
// and kept in a loss record, written before NewWriter returns.
func NewWriter(f *os.File, session string) (*Writer, error) {
	if !ValidSession(session) {
		return nil, fmt.Errorf("write audit of session %q: not a session id", session)
	}
	t, err := readTail(f, session)
	if err != nil {
		return nil, &WriteError{Session: session, Err: err}
	}
	w := &Writer{f: f, session: session}
	w.written = position{seq: t.seq, head: t.head, off: t.good}
	w.next = w.written
	w.cur = w.take()
	if len(t.torn) > 0 || t.good > 0 {
		w.dirty = true // also moves the offset of a file without O_APPEND
		if err := w.repair(); err != nil {
			return nil, &WriteError{Session: session, Err: err}
		}
	}
	w.timer = time.AfterFunc(time.Hour, w.flushNotes)
	w.timer.Stop()
	if len(t.torn) > 0 {
		if err := w.Append(&Loss{Count: 1, Reason: "torn line", Detail: "a writer was killed while it wrote", Torn: t.torn}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// OnFailure sets what is called when writing begins to fail: once, and again
// only if it worked meanwhile. It is called without locks held, by whichever
// goroutine wrote. It must be set before the first Append.
func (w *Writer) OnFailure(f func(error)) { w.failure = f }

// Append writes e and returns when the kernel has it: from then on a killed
// process loses nothing of it. (There is no fsync: a power cut can lose the
// last seconds.) Any error means that e is not in the audit and that what it
// describes must not be done.
func (w *Writer) Append(e Event) error {
	w.mu.Lock()
	if err := w.add(e); err != nil {
		w.mu.Unlock()
		return err
	}
	b := w.cur
	b.refs++
	for !b.done {
		if w.writing {
			b.cond.Wait()
		} else {
			w.commit() // b is w.cur: a batch leaves there only to be written
		}
	}
	err := b.err
	if b.refs--; b.refs == 0 {
		w.release(b)
	}
	w.mu.Unlock()
	return err
}

// Note writes e soon, and does not wait for it. It is for what has happened
// already (a flow's end, a dropped packet): when it can't be written or too much
// is pending, a loss record will say so.
func (w *Writer) Note(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.next.ended {
		return
	}
	if len(w.cur.buf) > maxPending {
		w.lose(lostMemory, 1)
		return
	}
	if err := w.add(e); err != nil {
		w.lose(lostWrite, 1)
		return
	}
	switch {
	case w.cur.refs > 0: // goes with the Append that waits
	case len(w.cur.buf) > hurry:
		w.timer.Reset(0)
		w.armed = true
	case !w.armed:
		w.timer.Reset(noteLatency)
		w.armed = true
	}
}

// Head returns the number and hash of the last record in the file. Records that
// Note took may be pending still; Flush or Close first.
func (w *Writer) Head() (seq uint64, hash [32]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.seq, w.written.head
}

// Size returns the length of what is written, in bytes.
func (w *Writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.off
}

// Counts returns the sums of what was recorded by this Writer, pending included.
func (w *Writer) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.next.counts
	for _, n := range w.lost {
		c.Lost += n
	}
	return c
}

// Flush returns when everything that Note has taken is written.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

// Close writes what is pending and closes the file. A second call does nothing. Every later Append fails with ErrClosed, as it does
// after a SessionEnd: nothing stands after the head that the ledger is given.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.timer.Stop()
	if !w.next.ended {
		w.addLoss(time.Now())
	}
	err := w.flush()
	for w.writing {
		b := w.cur
		b.refs++
		b.cond.Wait()
		b.refs--
	}
	w.mu.Unlock()
	if cerr := w.f.Close(); err == nil && cerr != nil {
		err = &WriteError{Session: w.session, Err: cerr}
	}
	return err
}

func (w *Writer) flushNotes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.flush() // a failure is counted and said by commit
}

// flush waits for the current batch. Called and returns with the lock held.
func (w *Writer) flush() error {
	b := w.cur
	if len(b.buf) == 0 && !w.writing {
		return nil
	}
	b.refs++
	for !b.done && (w.writing || len(b.buf) > 0) {
		if w.writing {
			b.cond.Wait()
		} else {
			w.commit()
		}
	}
	err := b.err
	if b.refs--; b.refs == 0 && b.done {
		w.release(b)
	}
	return err
}

// add encodes e at the end of the current batch.
func (w *Writer) add(e Event) error {
	if w.closed || w.next.ended {
		return &WriteError{Session: w.session, Err: ErrClosed}
	}
	now := time.Now()
	w.addLoss(now)
	typ := typeName(e)
	if typ == "" {
		return &WriteError{Session: w.session, Err: errUnknownEvent}
	}
	if !w.encode(now, typ, e) {
		return &WriteError{Session: w.session, Err: errTooLong}
	}
	w.cur.count++
	w.tally(e)
	return nil
}

// addLoss puts what was lost so far before the next record.
func (w *Writer) addLoss(now time.Time) {
	for cause, n := range w.lost {
		if n == 0 {
			continue
		}
		l := Loss{Count: n, Reason: "too many pending records"}
		if cause == lostWrite {
			l.Reason, l.Detail = "write failed", w.lostDetail
		}
		if w.encode(now, TypeLoss, &l) {
			w.cur.loss[cause] += n
			w.lost[cause] = 0
			w.next.counts.Lost += n
		}
	}
}

// encode appends one record to the current batch and advances the chain.
func (w *Writer) encode(now time.Time, typ string, e Event) bool {
	l, b := &w.line, w.cur
	start := len(b.buf)
	l.buf = b.buf
	l.begin(w.session, w.next.seq+1, now, typ, &w.next.head)
	body := len(l.buf)
	l.encode(e)
	if len(w.secrets) > 0 {
		l.redact(body, w.secrets)
	}
	l.end()
	b.buf, l.buf = l.buf, nil
	if len(b.buf)-start > maxLine {
		b.buf = b.buf[:start]
		return false
	}
	w.next.head = sha256.Sum256(b.buf[start : len(b.buf)-1])
	w.next.seq++
	w.next.off += int64(len(b.buf) - start)
	return true
}
