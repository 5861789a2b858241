package wire

import (
	"bytes"
	"io"
	"sync"
)

// Filter stands between a connection and net/http's server and lets through
// only HTTP/1 messages that ParseHead accepts, with the framing it found. The
// server then reads the same unchanged bytes, so the two can't disagree.
//
// A message that is refused is replaced by a small well-formed request to
// Refusal's path, after which the stream ends: so answers to requests that were
// pipelined before it still come first and in order. Pipelined requests are
// passed on one after the other.
//
// After a head that asks for an upgrade or a tunnel everything passes unread:
// the handler must switch protocols or close.
type Filter struct {
	src   io.Reader
	check func(*Head) *Malformed
	// partial is called when a head has begun and is not whole.
	partial func()
	// replacement is what the server reads in place of a refused message.
	replacement []byte
	maxHead     int

	buf   []byte // pooled; bytes read but not passed on are buf[r:w]
	r, w  int
	ready int // bytes of buf[r:] that may pass

	state   state
	body    int64 // bytes left of a body or chunk
	line    int   // bytes of the chunk line or trailer so far
	refused *Malformed
	one     [1]byte
	parsed  Head // the last one; here to save its allocation and stack
}

type state uint8

const (
	stateHead state = iota
	stateBody
	stateChunkLine
	stateChunkData
	stateChunkEnd
	stateTrailer
	stateTunnel
	stateEnd
)

// bufSize is what net/http reads at a time; a longer head grows its buffer.
const bufSize = 4096

var bufPool = sync.Pool{New: func() any { return new([bufSize]byte) }}

// NewFilter reads from src.
// check is asked about each head and may refuse it; heads longer than maxHead
// are refused. partial is called while a head is not whole. secret is a path that no client can know, under which the server
// sees refused messages.
func NewFilter(src io.Reader, maxHead int, secret string, check func(*Head) *Malformed, partial func()) *Filter {
	f := &Filter{src: src, check: check, partial: partial, maxHead: maxHead}
	f.replacement = []byte("GET " + secret + " HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n")
	return f
}

// Refused returns why the stream was ended, nil if it was not. It is set before
// the replacement is passed on.
func (f *Filter) Refused() *Malformed { return f.refused }

// Tunnel reports whether everything passes unread now.
func (f *Filter) Tunnel() bool { return f.state == stateTunnel }

// Read implements io.Reader. An error of the source, a deadline among them,
// leaves the filter as it was.
func (f *Filter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if f.ready > 0 {
			n := copy(p, f.buf[f.r:f.r+f.ready])
			f.r += n
			f.ready -= n
			f.release()
			return n, nil
		}
		if f.r < f.w {
			if more := f.advance(); !more {
				continue
			}
		}
		switch f.state {
		case stateEnd:
			if f.body < 0 {
				return 0, f.refused // in the middle of a body
			}
			return 0, io.EOF
		case stateTunnel:
			return f.src.Read(p)
		case stateBody, stateChunkData:
			if f.body < int64(len(p)) {
				p = p[:f.body]
			}
			n, err := f.src.Read(p)
			f.consume(int64(n))
			return n, err
		case stateHead:
			if f.r == f.w && len(p) >= bufSize/4 {
				if n, err, done := f.direct(p); done {
					return n, err
				}
				continue
			}
		}
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
}

// direct reads a head into the caller's buffer: the usual case, in which a
// connection between requests holds no memory here.
func (f *Filter) direct(p []byte) (int, error, bool) {
	n, err := f.src.Read(p)
	if n <= 0 {
		return n, err, true
	}
	b := p[:n]
	if end := headEnd(b); end == n && b[0] != '\r' {
		if f.head(b) {
			return n, nil, true
		}
		return 0, nil, false // the replacement is ready
	} else if end > 0 && b[0] != '\r' {
		if !f.head(b[:end]) {
			return 0, nil, false
		}
		if f.state == stateBody && f.body >= int64(n-end) {
			f.consume(int64(n - end)) // a small body that came with its head
			return n, nil, true
		}
		f.grow(n - end)
		f.w = copy(f.buf, b[end:])
		return end, nil, true
	}
	f.grow(n)
	f.w = copy(f.buf, b)
	return 0, nil, false
}

// headEnd returns the length of the head at the start of b, 0 if it is not
// whole. A bare LF ends it too, so that it is refused rather than waited for.
func headEnd(b []byte) int {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		if j := bytes.Index(b[:i], []byte("\n\n")); j >= 0 {
			return j + 2
		}
		return i + 4
	}
	if i := bytes.Index(b, []byte("\n\n")); i >= 0 {
		return i + 2
	}
	if i := bytes.Index(b, []byte("\n\r\n")); i >= 0 {
		return i + 3
	}
	return 0
}

// advance looks at the unread bytes; true asks for more of them.
func (f *Filter) advance() bool {
	b := f.buf[f.r:f.w]
	switch f.state {
	case stateHead:
		return f.advanceHead(b)
	case stateBody, stateChunkData:
		f.ready = int(min(f.body, int64(len(b))))
		f.consume(int64(f.ready))
	case stateTunnel:
		f.ready = len(b)
	case stateChunkLine:
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return f.tooLong(len(b) > maxChunkLine, "chunk line is too long")
		}
		n, ok := chunkSize(b[:i+1])
		if !ok || i > maxChunkLine {
			f.abort("malformed chunk line")
			return false
		}
		f.ready, f.body, f.state = i+1, n, stateChunkData
		if n == 0 {
			f.state, f.line = stateTrailer, 0
		}
	case stateChunkEnd:
		if len(b) < 2 && b[0] == '\r' {
			return true
		}
		if b[0] != '\r' || b[1] != '\n' {
			f.abort("chunk does not end in CR LF")
			return false
		}
		f.ready, f.state = 2, stateChunkLine
	case stateTrailer:
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return f.tooLong(f.line+len(b) > maxTrailer, "trailers are too long")
		}
		if f.line += i + 1; f.line > maxTrailer || !trailerLine(b[:i+1]) {
			f.abort("malformed trailer")
			return false
		}
		f.ready = i + 1
		if i == 1 {
			f.state, f.line = stateHead, 0
		}
	default:
		f.r = f.w // after the end nothing is read
	}
	return false
}

func (f *Filter) advanceHead(b []byte) (more bool) {
	// RFC 9112 section 2.2: an empty line before the request line is ignored.
	if b[0] == '\r' {
		if len(b) == 1 {
			return true
		}
		if b[1] == '\n' && f.line < 2 {
			f.line++
			f.r += 2
			return false
		}
	}
	end := headEnd(b)
	if end > f.maxHead || end == 0 && len(b) >= f.maxHead {
		f.refuse(&Malformed{431, "header of the request is too long"})
		return false
	}
	if end == 0 {
		if f.partial != nil {
			f.partial()
		}
		return true
	}
	if f.head(b[:end]) {
		f.ready = end
	}
	return false
}

// head judges one head and sets the framing of what follows it.
func (f *Filter) head(b []byte) bool {
	h := &f.parsed
	*h = Head{}
	err := h.parse(b)
	if err == nil && f.check != nil {
		err = f.check(h)
	}
	if err != nil {
		f.refuse(err)
		return false
	}
	f.line = 0
	switch {
	case h.Upgrade != nil || h.Connect():
		f.state = stateTunnel
	case h.Chunked:
		f.state = stateChunkLine
	case h.Length > 0:
		f.state, f.body = stateBody, h.Length
	}
	return true
}

// consume counts bytes of a body that pass.
func (f *Filter) consume(n int64) {
	if f.body -= n; f.body > 0 {
		return
	}
	if f.state == stateBody {
		f.state = stateHead
	} else {
		f.state = stateChunkEnd
	}
}

func (f *Filter) tooLong(is bool, reason string) (more bool) {
	if is {
		f.abort(reason)
	}
	return !is
}

// refuse replaces the message; abort ends one that the server reads already.
func (f *Filter) refuse(err *Malformed) {
	f.refused = err
	f.free()
	f.grow(len(f.replacement))
	f.w = copy(f.buf, f.replacement)
	f.ready, f.state = f.w, stateEnd
}

func (f *Filter) abort(reason string) {
	f.refused = bad(reason)
	f.free()
	f.state, f.body = stateEnd, -1
}

// fill reads more bytes behind those that can't pass yet.
func (f *Filter) fill() error {
	if f.buf == nil && f.state != stateHead {
		f.grow(bufSize)
	}
	if f.buf == nil {
		// Hold no buffer while a connection is idle in its background read.
		n, err := f.src.Read(f.one[:])
		if n == 0 {
			return err
		}
		f.grow(1)
		f.buf[0], f.r, f.w = f.one[0], 0, 1
		return nil
	}
	if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w == len(f.buf) {
		f.grow(2 * len(f.buf))
	}
	n, err := f.src.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// grow makes the buffer hold at least n bytes.
func (f *Filter) grow(n int) {
	if n <= len(f.buf) {
		return
	}
	old := f.buf
	if n <= bufSize {
		f.buf = bufPool.Get().(*[bufSize]byte)[:]
	} else {
		f.buf = make([]byte, n)
	}
	copy(f.buf, old)
	putBuf(old)
}

func (f *Filter) release() {
	if f.r == f.w {
		f.free()
	}
}

func (f *Filter) free() {
	putBuf(f.buf)
	f.buf, f.r, f.w = nil, 0, 0
}

func putBuf(b []byte) {
	if len(b) == bufSize {
		bufPool.Put((*[bufSize]byte)(b))
	}
}

// Rest takes the bytes that were read and not passed on.
func (f *Filter) Rest() []byte {
	rest := append([]byte(nil), f.buf[f.r:f.w]...)
	f.free()
	f.ready = 0
	return rest
}
