package netproxy

import (
	"io"
	"net/http"
	"sync/atomic"
)

// requestBody counts what goes up and looks for placeholders in it.
type requestBody struct {
	io.ReadCloser
	f      *flow
	left   int64 // of a declared length
	corked *upstreamConn
	hook   emptyHook
	// trailer is filled by the server when the body ends.
	trailer http.Header
	// deferred says that a secret may go into the body, see secrets.Set.SwapBody.
	deferred bool
	ended    atomic.Bool // read to its end
}

func (x *web) requestBody(r *http.Request) io.ReadCloser {
	body, deferred := x.f.p.cfg.Secrets.Body(r.Body, r.Header, x.f.req.Target)
	x.body = requestBody{ReadCloser: body, f: x.f, left: r.ContentLength, trailer: r.Trailer, deferred: deferred}
	return &x.body
}

// Read is called by the transport, one time after the other. A large body is
// gathered on its way up until the pen has no more to read for now.
func (b *requestBody) Read(p []byte) (int, error) {
	x := &b.f.web
	if b.corked == nil && b.left > 2*corkSize && x.up != nil && x.client != nil && x.client.probe.able() {
		b.corked = x.up
		b.corked.cork.set(true)
		b.hook.request = b.corked
		x.client.probe.hook.Store(&b.hook)
	}
	n, err := b.ReadCloser.Read(p)
	if granted, over := b.f.take(bytesOut, n); over != nil {
		clear(p[granted:n])
		n, err = granted, over
	}
	b.f.up.Add(int64(n))
	x.captured.sent(p[:n])
	b.left -= int64(n)
	if err == io.EOF { //nolint:errorlint // readers return it bare
		b.ended.Store(true)
	}
	if err == io.EOF && len(b.trailer) > 0 { //nolint:errorlint // readers return it bare
		why := b.f.p.cfg.Secrets.Trailer(b.trailer)
		if why == nil {
			_, why = b.f.take(bytesOut, int(headSize(0, b.trailer)))
		}
		if why != nil {
			clear(b.trailer)
			err = why
		}
	}
	if b.corked != nil && (err != nil || b.left <= corkSize) {
		b.uncork() // the end is written directly: nobody would flush it
		b.left = 0
	}
	return n, err
}

// Close may be called while a Read waits.
func (b *requestBody) Close() error {
	b.f.web.unhookUpload(b)
	return b.ReadCloser.Close()
}

func (b *requestBody) uncork() {
	b.f.web.unhookUpload(b)
	b.corked.cork.set(false)
	b.corked.cork.flush(b.corked.Conn) //nolint:errcheck // the next write fails too
	b.corked = nil
}

func (x *web) unhookUpload(b *requestBody) {
	if x.client != nil {
		x.client.probe.hook.CompareAndSwap(&b.hook, nil)
	}
}

// responseBody watches a response's body for its end before the end.
type responseBody struct {
	io.ReadCloser
	x *web
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if granted, over := b.x.f.take(bytesIn, n); over != nil {
		clear(p[granted:n])
		n, err = granted, over
	}
	b.x.captured.got(p[:n])
	if err != nil && err != io.EOF { //nolint:errorlint // readers return it bare
		b.x.upErr.Store(true)
		if !b.x.f.leaking(err) {
			b.x.f.fail(err)
		}
	}
	return n, err
}

// WriteTo implements io.WriterTo: the chain copies event streams by a writer of
// its own, which would hide ReadFrom.
func (b *responseBody) WriteTo(io.Writer) (int64, error) {
	return b.x.ReadFrom(struct{ io.Reader }{b})
}
