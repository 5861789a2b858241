package netproxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/internal/wire"
	"github.com/penstock/penstock/netproxy/secrets"
)

// lastWords is how long the ends of a WebSocket have for the close that ends it.
const lastWords = 5 * time.Second

// talk is a WebSocket whose messages hooks are asked about. Each frame is read, and
// what passes is put into new ones, so that there is always a place between two for
// a close, and two readers of the same bytes have nothing to disagree about.
type talk struct {
	f      *flow
	ctx    context.Context
	cancel context.CancelFunc
	up     io.ReadWriteCloser
	pen    *hijacked
	ends   [2]talkEnd       // by whether it is the pen: who is written to
	done   [2]chan struct{} // by whether it goes to the pen: that direction has ended
	once   sync.Once
	values *secrets.Messages // nil: no value can go into one
	over   atomic.Bool       // a close was said to both

	mu     sync.Mutex
	traces []hooks.Trace
	err    error // of the frames
	class  string
}

// errSaid says that a side has had its close.
var errSaid = errors.New("the WebSocket is closed")

// talkEnd is one end of a talk, to write to.
type talkEnd struct {
	mu     sync.Mutex
	w      io.Writer
	masked bool
	said   bool // a close: nothing may come behind it
	over   *atomic.Bool
	buf    []byte
}

// frame sends a frame, if it is not over. It may change the payload.
func (s *talkEnd) frame(op byte, fin bool, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Load() {
		return errSaid
	}
	return s.write(op, fin, payload)
}

// last sends the close that ends it.
func (s *talkEnd) last(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(wire.OpClose, true, payload) //nolint:errcheck // gone already, then
}

func (s *talkEnd) write(op byte, fin bool, payload []byte) error {
	if s.said {
		return errSaid
	}
	s.said = op == wire.OpClose
	var key *[4]byte
	if s.masked {
		key = new([4]byte)
		rand.Read(key[:]) //nolint:errcheck // it does not fail
		wire.Mask(*key, 0, payload)
	}
	s.buf = wire.AppendFrameHeader(s.buf[:0], op, fin, len(payload), key)
	if len(payload) > 4<<10 {
		if _, err := s.w.Write(s.buf); err != nil {
			return err
		}
		_, err := s.w.Write(payload)
		return err
	}
	s.buf = append(s.buf, payload...)
	_, err := s.w.Write(s.buf)
	return err
}

// newTalk returns a talk with an upstream that has agreed to it.
func newTalk(f *flow, r *http.Request, up io.ReadWriteCloser) *talk {
	t := &talk{f: f, up: up, values: f.p.cfg.Secrets.Messages(f.req.Target, f.confidential())}
	t.ctx, t.cancel = context.WithCancel(r.Context())
	t.ends[0].w, t.ends[0].masked = up, true
	for i := range t.done {
		t.done[i], t.ends[i].over = make(chan struct{}), &t.over
	}
	return t
}

// upEnd and penEnd are what the chain relays between. It calls WriteTo; what else
// it could call would go past the hooks.
type (
	upEnd  struct{ *talk }
	penEnd struct {
		*hijacked
		t *talk
	}
)

const errPast flowError = "read or write past the hooks"

func (upEnd) Read([]byte) (int, error)   { return 0, errPast }
func (upEnd) Write([]byte) (int, error)  { return 0, errPast }
func (e upEnd) Close() error             { return e.up.Close() }
func (penEnd) Read([]byte) (int, error)  { return 0, errPast }
func (penEnd) Write([]byte) (int, error) { return 0, errPast }
func (e upEnd) WriteTo(io.Writer) (int64, error) {
	return 0, e.relay(e.up, true)
}
func (e penEnd) WriteTo(io.Writer) (int64, error) {
	return 0, e.t.relay(e.hijacked, false)
}

// pened returns the pen's end, once it is there.
func (t *talk) pened(h *hijacked) penEnd {
	t.pen, t.ends[1].w = h, h
	return penEnd{h, t}
}

// index of what goes to the pen, or to the upstream.
func index(in bool) int {
	if in {
		return 1
	}
	return 0
}

// relay passes on what src sends, message by message, until it ends.
func (t *talk) relay(src io.Reader, in bool) error {
	to := &t.ends[index(in)]
	defer func() {
		close(t.done[index(in)])
		if t.over.Load() {
			<-t.done[index(!in)] // it still hears the other's last words
		}
	}()
	frames := wire.NewFrames(src, !in, func(op byte, payload []byte) error {
		if t.values != nil {
			if err := t.values.Control(in, payload); err != nil {
				return err
			}
		}
		return to.frame(op, true, payload)
	})
	var err error
	for err == nil {
		var op byte
		if op, err = frames.Next(); err == nil {
			err = t.pass(frames, op, in)
		}
	}
	var denied *chain.Denied
	var bad *wire.FrameError
	kind, leaked := leak(err)
	var none *secrets.NoValueError
	switch {
	case t.over.Load():
	case kind != "":
		t.f.p.violation(t.f.binding, audit.Violation{Kind: kind, Detail: leaked.Error(), Flow: t.f.req.Flow, Target: t.f.req.Target, Action: "closed"})
		t.fail(leaked, kind)
		t.end(wire.ClosePolicy, leaked.Error())
	case errors.As(err, &none):
		t.fail(none, "upstream")
		t.end(wire.ClosePolicy, none.Error())
	case errors.As(err, &denied):
		t.f.denied.CompareAndSwap(nil, denied)
		t.end(wire.ClosePolicy, t.f.p.redact(denied.Decision.Reason))
	case errors.As(err, &bad):
		t.malformed(bad, in)
		t.end(wire.CloseProtocol, bad.Reason)
		io.Copy(io.Discard, src) //nolint:errcheck // for so long as it may take
		return err
	case frames.Closed():
		// The other end answers that, and closes the connection.
		io.Copy(io.Discard, src) //nolint:errcheck // it has ended
		return nil
	}
	if t.over.Load() {
		frames.Discard()
	}
	return err
}

// pass asks about a message, and passes on what may pass.
func (t *talk) pass(frames *wire.Frames, op byte, in bool) error {
	// Rules and hooks may have changed since the handshake.
	gen := t.f.p.rules.Load()
	if gen.broken != nil {
		return &chain.Denied{Decision: hooks.Decision{Reason: "the hooks of the policy can't be asked"}, Point: hooks.PointWebSocket}
	}
	q := t.f.req
	q.Point, q.Message = hooks.PointWebSocket, &hooks.Message{In: in, Binary: op == wire.OpBinary}
	to := &t.ends[index(in)]
	var src io.Reader = frames
	if in && t.values != nil {
		src = t.values.Received(frames) // before a hook sees it
	}
	if body := gen.hooks.Inspect(t.ctx, &q, src, "", nil, &t.f.p.kept); body != nil {
		defer func() {
			t.note(body.Traces())
			body.Close()
		}()
		src = body
		if data, ok := body.Whole(); ok {
			if in || t.values == nil {
				return to.frame(op, true, data)
			}
			src = bytes.NewReader(data)
		}
	}
	if !in && t.values != nil {
		// The hooks have seen the placeholder.
		doc, rest, used, err := t.values.Sent(op == wire.OpText, src)
		for _, u := range used {
			t.f.p.cfg.Record.Note(&audit.SecretUse{Flow: t.f.req.Flow, Name: u.Secret, Host: t.f.req.Target.Name(), Header: u.Header})
		}
		if err != nil || rest == nil {
			if err == nil {
				err = to.frame(op, true, doc)
			}
			return err
		}
		src = rest
	}
	buf, _ := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		end := err == io.EOF //nolint:errorlint // readers return it bare
		if err != nil && !end {
			return err
		}
		if n > 0 || end {
			if err := to.frame(op, end, buf[:n]); err != nil {
				return err
			}
			op = wire.OpContinuation
		}
		if end {
			return nil
		}
	}
}

// end says a close to both ends and gives them a moment to answer it. No message
// passes any more. The reason is the pen's.
func (t *talk) end(code uint16, reason string) {
	t.once.Do(func() {
		t.over.Store(true)
		t.cancel()
		t.pen.SetDeadline(time.Now().Add(lastWords))       //nolint:errcheck // gone already, then
		time.AfterFunc(lastWords, func() { t.up.Close() }) //nolint:errcheck // gone already, then
		say := func(to *talkEnd, why string) {
			b := append(binary.BigEndian.AppendUint16(nil, code), why...)
			to.last(b[:min(len(b), wire.MaxControl)])
		}
		say(&t.ends[1], reason)
		say(&t.ends[0], "")
	})
}

// malformed records frames that are none.
func (t *talk) malformed(why *wire.FrameError, in bool) {
	class := "upstream"
	if !in {
		class = "malformed"
		t.f.p.violation(t.f.binding, audit.Violation{Kind: class, Detail: why.Error(), Flow: t.f.req.Flow, Target: t.f.req.Target, Action: "closed"})
	}
	t.fail(why, class)
}

// fail notes why it has ended, the first time.
func (t *talk) fail(why error, class string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err, t.class = why, class
	}
}

// note adds up what hooks did. That one failed when it was over says nothing: it was
// interrupted.
func (t *talk) note(more []hooks.Trace) {
	over := t.over.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
next:
	for _, m := range more {
		if over && m.Decision == "failed" {
			m.Decision, m.Reason = hooks.Next.String(), ""
		}
		for i := range t.traces {
			if s := &t.traces[i]; s.Hook == m.Hook {
				s.Duration += m.Duration
				s.Times += m.Times
				if s.Decision == hooks.Next.String() {
					s.Decision = m.Decision
				}
				if m.Reason != "" {
					s.Reason = m.Reason
				}
				continue next
			}
		}
		t.traces = append(t.traces, m)
	}
}

// close ends the talk for the flow, which takes over what is to be recorded.
func (t *talk) close() {
	t.cancel()
	t.up.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil && t.f.err == nil {
		t.f.err, t.f.class = t.err, t.class
	}
	t.f.close.Hooks = append(t.f.close.Hooks, t.traces...)
}
