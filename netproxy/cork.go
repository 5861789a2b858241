package netproxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// corkSize is four full TLS records with their overhead and a header.
const corkSize = 68 << 10

var corkBuffers = sync.Pool{New: func() any { return new([corkSize]byte) }}

// cork gathers the records of a bulk transfer: crypto/tls writes one of 16 KiB
// at a time, and each write wakes the reader. Whoever corks a connection must
// flush it before it waits for anything.
type cork struct {
	mu  sync.Mutex
	on  bool
	buf *[corkSize]byte
	n   int
	err error // of a flush that had nobody to tell
}

func (k *cork) set(on bool) {
	k.mu.Lock()
	k.on = on
	k.mu.Unlock()
}

func (k *cork) write(dst io.Writer, p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.on && k.n == 0 || len(p) > corkSize/2 {
		if err := k.drain(dst); err != nil {
			return 0, err
		}
		return dst.Write(p)
	}
	if k.n+len(p) > corkSize || !k.on {
		if err := k.drain(dst); err != nil {
			return 0, err
		}
		if !k.on {
			return dst.Write(p)
		}
	}
	if k.buf == nil {
		k.buf, _ = corkBuffers.Get().(*[corkSize]byte)
	}
	k.n += copy(k.buf[k.n:], p)
	return len(p), nil
}

func (k *cork) flush(dst io.Writer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.drain(dst)
}

func (k *cork) drain(dst io.Writer) error {
	if k.err != nil || k.n == 0 {
		return k.err
	}
	_, k.err = dst.Write(k.buf[:k.n])
	corkBuffers.Put(k.buf)
	k.buf, k.n = nil, 0
	return k.err
}

// probe reads from a socket and has what was written of a response leave when there is nothing to read,
// before it waits. For one reader at a time.
type probe struct {
	raw  rawReader
	hook atomic.Pointer[emptyHook]
}

func (b *probe) read(src io.Reader, p []byte) (int, error) {
	if b.hook.Load() == nil || !b.able() || len(p) == 0 {
		return src.Read(p)
	}
	return b.raw.read(p)
}

// emptyHook is what is to leave before somebody waits for more: of a response
// to the pen, or of a request to the upstream.
type emptyHook struct {
	response *web
	request  *upstreamConn
}

func (h *emptyHook) run() {
	if h.response != nil {
		h.response.flushBlocked()
	}
	if h.request != nil {
		h.request.cork.flush(h.request.Conn) //nolint:errcheck // the next write fails too
	}
}

// upstreamConn is a connection of a transport.
type upstreamConn struct {
	net.Conn
	probe probe
	cork  cork
}

func newUpstreamConn(nc net.Conn) *upstreamConn {
	u := &upstreamConn{Conn: nc}
	if tc, ok := nc.(*net.TCPConn); ok {
		u.probe.open(tc)
	}
	return u
}

func (u *upstreamConn) Read(p []byte) (int, error)  { return u.probe.read(u.Conn, p) }
func (u *upstreamConn) Write(p []byte) (int, error) { return u.cork.write(u.Conn, p) }
