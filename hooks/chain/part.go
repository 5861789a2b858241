package chain

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/penstock/penstock/hooks"
)

// errors of a body itself.
var (
	errLong  = errors.New("it is longer than the hook's max_body")
	errHeld  = errors.New("too much of bodies is being kept back")
	errCoded = errors.New("the body is in an encoding that can't be undone")
)

// part is a body as one hook lets it through.
type part struct {
	l       *link
	ctx     context.Context
	q       hooks.Request
	src     io.Reader
	dec     *decoder // nil: what is sent is what the hook gets
	coding  string   // that the hook gets the body in
	encoded string   // Content-Encoding of the body
	plain   *bool    // a hook before has made another body, which is not encoded
	settled bool     // no hook may make another body
	refused error    // why nothing can be asked
	trailer func() http.Header
	held    *Held
	passed  *int64

	window []byte // overlap, and what is asked about
	ready  []byte // may pass
	asked  int64  // bytes that were asked about, decoded
	free   bool   // the rest passes unasked
	err    error  // behind ready
	begun  bool
	made   []byte // what the hook has made of the body; nil: nothing

	mu     sync.Mutex
	trace  hooks.Trace
	holds  int64
	closed bool
}

func (x *part) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(x.ready) > 0:
			n := copy(p, x.ready)
			x.ready = x.ready[n:]
			return n, x.end()
		case x.err != nil:
			return 0, x.err
		case x.free:
			n, err := x.src.Read(p)
			x.err = err
			return n, x.end()
		}
		if n := x.fill(p); n > 0 {
			return n, x.end()
		}
	}
}

// end is io.EOF with the last bytes: who passes them on may say that they are.
func (x *part) end() error {
	if len(x.ready) == 0 && x.err == io.EOF { //nolint:errorlint // readers return it bare
		return io.EOF
	}
	return nil
}

// fill asks about what comes next. It may use p for it, and returns how many bytes
// of it may pass.
func (x *part) fill(p []byte) int {
	if !x.begun {
		// Who is about the body as a whole before it has been asked (Begin).
		if x.begun = true; !*x.plain {
			x.decode(x.encoded)
		}
	}
	if x.refused != nil {
		x.fail(x.refused)
		return 0
	}
	switch {
	case !x.l.Inspect.Stream:
		x.whole()
	case x.dec != nil || x.l.Inspect.Overlap > 0:
		x.next()
	default:
		return x.direct(p)
	}
	return 0
}

// hold counts bytes that are kept back.
func (x *part) hold(n int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || !x.held.take(n) {
		return false
	}
	x.holds += n
	return true
}

// max is after how many bytes no more is asked, 0 for no bound.
func (x *part) max() int64 {
	if x.l.Inspect.Max == 0 && !x.l.Inspect.Stream {
		return hooks.DefaultBody
	}
	return x.l.Inspect.Max
}

// read reads what the hook gets next.
func (x *part) read(p []byte) (int, error) {
	if x.dec != nil {
		return x.dec.Read(p)
	}
	return x.src.Read(p)
}

// whole reads the body to its end, or to max, and asks about that. One byte more
// tells that there is more.
func (x *part) whole() {
	limit, need := int(x.max()), 512
	if x.dec != nil {
		need = minRead
	}
	var err error
	for err == nil && len(x.window) <= limit {
		if cap(x.window)-len(x.window) < need {
			size := min(max(2*cap(x.window), len(x.window)+need, 4<<10), limit+need)
			if !x.hold(int64(size - cap(x.window))) {
				x.fail(errHeld)
				return
			}
			x.window = append(make([]byte, 0, size), x.window...)
		}
		var n int
		n, err = x.read(x.window[len(x.window):cap(x.window)])
		x.window = x.window[:len(x.window)+n]
	}
	end := err == io.EOF //nolint:errorlint // readers return it bare
	data := x.window[:min(len(x.window), limit)]
	over := len(data) < len(x.window)
	switch {
	case over && !x.l.Inspect.Over:
		x.fail(errLong)
		return
	case err != nil && !end:
		x.broken(err)
		return
	}
	switch made, ok := x.ask(data, 0, end && !over); {
	case !ok:
		return
	case made != nil:
		x.replace(made)
		return
	}
	x.free = true
	x.pass(x.window)
	if over {
		x.beyond()
	}
	if end {
		x.err = io.EOF
	}
}

// minRead is how much room a decoder needs to keep nothing back: its window.
const minRead = 32 << 10

// next asks about a part of a body that is decoded, or overlaps the one before.
func (x *part) next() {
	keep := min(len(x.window), x.l.Inspect.Overlap)
	if x.window == nil {
		size := x.l.Inspect.Overlap + hooks.MaxPart
		if !x.hold(int64(size)) {
			x.fail(errHeld)
			return
		}
		x.window = make([]byte, 0, size)
	}
	copy(x.window[:keep], x.window[len(x.window)-keep:])
	room := x.window[keep : keep+hooks.MaxPart]
	n, err := x.read(room)
	x.window = x.window[:keep+n]
	if x.step(x.window, keep, n, err) {
		x.pass(room[:n])
	}
}

// direct asks about what is read into p.
func (x *part) direct(p []byte) int {
	p = p[:min(len(p), hooks.MaxPart)]
	n, err := x.src.Read(p)
	if !x.step(p[:n], 0, n, err) {
		clear(p[:n])
		return 0
	}
	return n
}

// step asks about n bytes at the end of data, which came with err, and says whether
// they may pass.
func (x *part) step(data []byte, seen, n int, err error) bool {
	end := err == io.EOF //nolint:errorlint // readers return it bare
	if n == 0 && !end {
		x.broken(err)
		return false
	}
	over := false
	if limit := x.max(); limit > 0 && x.asked+int64(n) > limit {
		if !x.l.Inspect.Over {
			x.fail(errLong)
			return false
		}
		over = true
		data = data[:len(data)-n+int(limit-x.asked)]
	}
	if _, ok := x.ask(data, seen, end && !over); !ok {
		return false
	}
	switch {
	case end:
		x.err = io.EOF
	case err != nil:
		x.broken(err)
	}
	if x.free = over; over {
		x.beyond()
	}
	return true
}

// beyond notes that the rest was not asked about.
func (x *part) beyond() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.trace.Reason = "not asked beyond its max_body"
}

// pass lets through what was asked about: the bytes themselves, or those that they
// were decoded from. What was read ahead of it stays to be passed later.
func (x *part) pass(plain []byte) {
	if x.dec == nil {
		x.ready = plain
		return
	}
	x.ready = x.dec.take()
	if x.free {
		x.src = x.dec.rest()
	}
}

// ask asks the hook. false: it has something against it. made is what it makes of a
// whole body, nil for nothing.
func (x *part) ask(data []byte, seen int, last bool) (made []byte, ok bool) {
	q := x.q
	q.Body = &hooks.Body{Data: data, Seen: seen, Offset: x.asked - int64(seen), Last: last}
	if last && x.trailer != nil && !*x.plain {
		q.Body.Trailer = x.trailer()
	}
	if x.dec == nil {
		q.Body.Encoding = x.coding
	}
	q.Body.Room = x.room(q.Body)
	d, t := x.l.ask(x.ctx, &q)
	if x.settled && t.Body != nil {
		x.l.count.failed.Add(1)
		d = x.l.denial(hooks.Decision{Reason: errBodyAgain.Error()}, errBodyAgain)
		t.Decision, t.Reason, t.Body = "failed", errBodyAgain.Error(), nil
	}
	x.note(t)
	x.asked += int64(len(data) - seen)
	if d.Action != hooks.Next {
		x.deny(d)
		return nil, false
	}
	if t.Body != nil {
		made = d.Change.Body
	}
	return made, true
}

func (x *part) note(t hooks.Trace) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.trace.Decision, x.trace.Reason, x.trace.Body = t.Decision, t.Reason, t.Body
	x.trace.Duration += t.Duration
	x.trace.Times++
}

// fail denies because the hook can't be asked.
func (x *part) fail(err error) {
	x.l.tally(hooks.Decision{}, err)
	x.note(hooks.Trace{Decision: "failed", Reason: clean(err.Error())})
	x.deny(x.l.denial(hooks.Decision{Reason: clean(err.Error())}, err))
}

func (x *part) deny(d hooks.Decision) {
	x.err = &Denied{Decision: d, Point: x.q.Point, Message: x.q.Message, After: *x.passed}
	x.ready = nil
}

// broken ends a body that does not end well: what can't be decoded is a deny.
func (x *part) broken(err error) {
	var bad *codingError
	if errors.As(err, &bad) {
		x.fail(bad)
		return
	}
	x.err = err
}
