package netproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/hooks"
)

// web is the HTTP half of a flow: the response writer that the chain writes to,
// and what is counted and watched of both bodies.
type web struct {
	f       *flow
	w       http.ResponseWriter
	client  *conn
	head    bool // HEAD request
	upgrade bool // WebSocket handshake

	mu     sync.Mutex // of writing, against informational responses and late flushes
	wrote  bool       // headers are out
	ended  bool       // nothing may be written any more
	stream bool       // each piece is flushed
	duplex bool       // an answer may come before the request's end
	length int64      // declared, -1 if not
	sent   int64

	body     requestBody
	captured *captured     // nil: nothing is
	up       *upstreamConn // that an HTTP/1 response comes from, if it does
	downHook emptyHook
	hooked   bool        // up says when it would block: nothing else need flush
	upErr    atomic.Bool // the response's body broke off
	hijacked *hijacked
	talk     *talk // nil: no hook is asked about a WebSocket's messages
	trace    httptrace.ClientTrace
	ctx      flowContext
}

var (
	_ http.ResponseWriter = (*web)(nil)
	_ http.Flusher        = (*web)(nil)
	_ http.Hijacker       = (*web)(nil)
	_ io.ReaderFrom       = (*web)(nil)
)

func (x *web) init(f *flow, w http.ResponseWriter, r *http.Request) {
	x.f, x.w = f, w
	x.head = r.Method == http.MethodHead
	if l, ok := r.Context().Value(linkKey{}).(*link); ok && l.hc != nil {
		x.client = l.pen
	}
}

// context gives the request its flow and its trace.
func (x *web) context(parent context.Context) context.Context {
	x.ctx = flowContext{parent, x.f}
	x.trace.GotConn = x.gotConn
	x.trace.Got1xxResponse = x.informational
	return httptrace.WithClientTrace(&x.ctx, &x.trace)
}

func (x *web) gotConn(i httptrace.GotConnInfo) {
	x.f.setUpstream(addrPort(i.Conn.RemoteAddr()))
	x.up = nil
	nc := i.Conn
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if up, ok := nc.(*upstreamConn); ok && x.f.flavour == flavourHTTP1 && up.probe.able() {
		x.up = up
	}
}

// hook has everything that was written so far leave in the moment in which the
// upstream has no more to read, and holds bulk data back until then.
func (x *web) hook() {
	x.setHooked(true)
	x.client.cork.set(true)
	x.downHook.response = x
	x.up.probe.hook.Store(&x.downHook)
}

func (x *web) unhook() {
	// The transport may have lent the connection to another request already.
	x.up.probe.hook.CompareAndSwap(&x.downHook, nil)
	x.setHooked(false)
	x.client.cork.set(false)
	if err := x.client.cork.flush(x.client.TCPConn); err != nil {
		x.f.fail(clientGone{err})
	}
}

func (x *web) setHooked(on bool) {
	x.mu.Lock()
	x.hooked = on
	x.mu.Unlock()
}

// flushBlocked is called by whoever reads the upstream's connection: mostly the
// copy itself, after the body's end also the transport.
func (x *web) flushBlocked() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	x.flush()
	if x.hooked {
		x.client.cork.flush(x.client.TCPConn) //nolint:errcheck // the next write fails too
	}
}

// informational passes 1xx responses on, but where hooks are asked about answers:
// they are not about these. The server answers 100 itself, when the transport
// begins to read the body because the upstream has asked for it.
func (x *web) informational(code int, h textproto.MIMEHeader) error {
	if code == http.StatusContinue || code == http.StatusSwitchingProtocols || x.f.asks(hooks.PointResponse) {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.wrote || x.ended {
		return nil
	}
	out := x.w.Header()
	for k, v := range h {
		out[k] = v
	}
	takeResponseHopHeaders(out)
	x.w.WriteHeader(code)
	clear(out)
	return nil
}

// Header implements http.ResponseWriter.
func (x *web) Header() http.Header { return x.w.Header() }

// WriteHeader implements http.ResponseWriter. Headers of a response without a
// known length go out at once: it may be a stream whose first event is far away.
func (x *web) WriteHeader(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.wrote || x.ended {
		return
	}
	x.wrote = true
	x.f.status = code
	h := x.w.Header()
	x.length = -1
	if v := h["Content-Length"]; len(v) == 1 {
		x.length = parseLength(v[0])
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess one
	}
	if x.duplex && code >= 200 && !x.body.ended.Load() {
		// The server can't find the next request behind a body that it has not read.
		h["Connection"] = []string{"close"}
	}
	if x.upgrade && code != http.StatusSwitchingProtocols {
		h["Connection"] = []string{"close"} // the filter lets everything through now
	}
	bodiless := x.head || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified
	// A gRPC response that is headers only must end in the same frame.
	_, trailersOnly := h["Grpc-Status"]
	x.stream = x.length < 0 && !bodiless && !trailersOnly
	x.w.WriteHeader(code)
	if x.stream {
		// At once, but if the first piece is there already in one packet with it.
		x.aside((*web).flushHeaders)
	}
}

func (x *web) flushHeaders() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended && x.sent == 0 {
		x.flush()
	}
}

// fullDuplex has an answer that comes before the end of the request's body passed
// on at once. By default the server first reads the rest of the body, and throws
// away what was to go upstream. HTTP/2 has no such default.
func (x *web) fullDuplex(r *http.Request) {
	if x.client != nil && r.ContentLength != 0 {
		x.duplex = http.NewResponseController(x.w).EnableFullDuplex() == nil
	}
}

func parseLength(s string) int64 {
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<58 {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

func (x *web) flush() {
	if fl, ok := x.w.(http.Flusher); ok {
		fl.Flush()
	}
}

// Flush implements http.Flusher.
func (x *web) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return // also the header is the server's again, which panics at who asks for it
	}
	if _, trailersOnly := x.w.Header()["Grpc-Status"]; trailersOnly && x.sent == 0 {
		return
	}
	x.flush()
}

// Write implements http.ResponseWriter.
func (x *web) Write(b []byte) (int, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.write(b)
}

func (x *web) write(b []byte) (int, error) {
	if x.ended {
		return 0, clientGone{errEnded}
	}
	n, err := x.w.Write(b)
	x.sent += int64(n)
	x.f.down.Add(int64(n))
	// A piece of a body with a length is flushed too, unless it is the last:
	// nothing says when the next one comes. After a large piece there is hardly
	// anything left to flush.
	if err == nil && !x.hooked && (x.stream || x.sent < x.length) {
		x.flush()
	}
	return n, err
}

// copyBuffers holds what bodies are copied through.
var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// ReadFrom implements io.ReaderFrom for the response's body.
func (x *web) ReadFrom(src io.Reader) (int64, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	buf, _ := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	if x.up != nil && x.client != nil && x.length > corkSize/2 && !x.head {
		x.hook()
		defer x.unhook()
	} else if !x.stream && x.length > 0 && !x.head {
		// Headers of a body with a length wait a moment, to leave in one packet
		// with its beginning.
		x.f.p.sweeper.arm(x)
		defer x.f.p.sweeper.disarm(x)
	}
	var total int64
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			wn, werr := x.Write(buf[:n])
			total += int64(wn)
			if werr != nil {
				x.f.fail(clientGone{werr})
				return total, werr
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // readers return it bare
			return total, nil
		case err != nil:
			x.flushBlocked() // what came is the client's before it is cut off
			return total, err
		}
	}
}

var errEnded = errors.New("the answer has ended")

// clientGone marks an error of writing to the pen.
type clientGone struct{ error }

func (clientGone) Is(target error) bool { return target == http.ErrAbortHandler } //nolint:errorlint // a sentinel

// finish ends all writing: an upstream goroutine may still hold the trace.
func (x *web) finish() {
	x.mu.Lock()
	x.ended = true
	x.mu.Unlock()
	if x.talk != nil {
		x.talk.close()
	}
	if x.hijacked != nil {
		x.hijacked.Close()
	}
}

// broken reports whether the client has less than the upstream meant to send.
func (x *web) broken() bool { return x.upErr.Load() }

// Hijack implements http.Hijacker for WebSocket. goproxy relays until one side
// ends, then finish closes the pen's: a WebSocket has no half-closed state.
func (x *web) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !x.upgrade || x.f.status != http.StatusSwitchingProtocols {
		return nil, nil, errors.New("hijack connection: no upgrade was agreed")
	}
	nc, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	nc.SetDeadline(time.Time{}) //nolint:errcheck // a dead connection fails in the relay
	x.hijacked = &hijacked{Conn: nc, f: x.f}
	x.f.p.track(x.hijacked)
	// What came with the handshake is the pen's as much as what comes later.
	if early, _ := rw.Reader.Peek(rw.Reader.Buffered()); len(early) > 0 {
		x.hijacked.early = bytes.Clone(early)
	}
	if x.talk != nil {
		return x.talk.pened(x.hijacked), bufio.NewReadWriter(bufio.NewReaderSize(x.hijacked, 16), rw.Writer), nil
	}
	return x.hijacked, bufio.NewReadWriter(bufio.NewReaderSize(x.hijacked, 16), rw.Writer), nil
}

// hijacked is the pen's end of a WebSocket.
type hijacked struct {
	net.Conn
	f     *flow
	early []byte // read already
	done  onceFlag
}

func (h *hijacked) Read(p []byte) (n int, err error) {
	if len(h.early) > 0 {
		n = copy(p, h.early)
		h.early = h.early[n:]
	} else {
		n, err = h.Conn.Read(p)
	}
	if granted, over := h.f.take(bytesOut, n); over != nil {
		clear(p[granted:n])
		n, err = granted, over
	}
	h.f.up.Add(int64(n))
	return n, err
}

func (h *hijacked) Write(p []byte) (int, error) {
	granted, over := h.f.take(bytesIn, len(p))
	n, err := h.Conn.Write(p[:granted])
	h.f.down.Add(int64(n))
	if err == nil {
		err = over
	}
	return n, err
}

// Close ends the connection, once.
func (h *hijacked) Close() error {
	if !h.done.set() {
		return nil
	}
	h.f.p.untrack(h)
	return h.Conn.Close()
}
