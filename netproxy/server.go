package netproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/internal/wire"
)

// onceFlag is set once.
type onceFlag struct{ v atomic.Bool }

func (o *onceFlag) set() bool { return o.v.CompareAndSwap(false, true) }

// newServer is the one HTTP server. Its connections come from the front.
func (p *Proxy) newServer() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   handler{p},
		Protocols: &protocols,
		// No timeouts: the sweeper ends who waits for too long.
		ConnState:      connState,
		MaxHeaderBytes: p.limits.HeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: p.limits.Streams,
			// A peer that is gone without a word must not hold its streams.
			SendPingTimeout: time.Minute,
			PingTimeout:     30 * time.Second,
			// Uploads wait for a round trip of the proxy's loopback only, so
			// small windows cost nothing and bound what a pen can park here.
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     512 << 10,
		},
		DisableGeneralOptionsHandler: true, // OPTIONS * is judged like anything else
		ErrorLog:                     log.New(io.Discard, "", 0),
		ConnContext:                  connContext,
	}
}

// link leads from a request to its connection.
type link struct {
	pen *conn
	hc  *httpConn // nil for HTTP/2
}

type linkKey struct{}

// penOf returns the pen's connection under one of the server's.
func penOf(nc net.Conn) *conn {
	switch c := nc.(type) {
	case *httpConn:
		return c.pen
	case *tls.Conn:
		pen, _ := c.NetConn().(*conn)
		return pen
	case *conn:
		return c
	}
	return nil
}

func connContext(ctx context.Context, nc net.Conn) context.Context {
	l := &link{pen: penOf(nc)}
	l.hc, _ = nc.(*httpConn)
	return context.WithValue(ctx, linkKey{}, l)
}

// serveHTTP hands a connection in clear to the HTTP server.
func (p *Proxy) serveHTTP(c *conn, k kind) {
	c.setTLS(false)
	if k == kindHTTP2 {
		p.sweeper.watch(c)
		if !p.feed.push(c) {
			c.Close()
		}
		return
	}
	p.pushHTTP1(c, c)
}

// pushHTTP1 puts the filter in front of the server. nc is c or the TLS on it.
func (p *Proxy) pushHTTP1(c *conn, nc net.Conn) {
	hc := &httpConn{Conn: nc, pen: c}
	p.sweeper.watch(c)
	hc.filter = wire.NewFilter(nc, p.limits.HeaderBytes, p.refusedPath, hc.check, hc.partial)
	if !p.feed.push(hc) {
		hc.Close()
	}
}

// httpConn is a connection of which the HTTP server sees only what the filter
// lets through.
type httpConn struct {
	net.Conn
	pen    *conn
	filter *wire.Filter
	told   bool // the refusal is recorded
	closed onceFlag
}

func (h *httpConn) Read(b []byte) (int, error) { return h.filter.Read(b) }

// partial is called when a header has begun and is not whole.
func (h *httpConn) partial() { h.pen.waits.head.CompareAndSwap(0, h.pen.p.sweeper.clock.Load()) }

// rest takes what the filter has read and not passed on.
func (h *httpConn) rest() []byte { return h.filter.Rest() }

// CloseWrite lets the server end its direction first.
func (h *httpConn) CloseWrite() error {
	if cw, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Close waits a little for a refused client to read why: closing with unread
// bytes resets the connection and takes the answer with it.
func (h *httpConn) Close() error {
	if !h.closed.set() {
		return nil
	}
	if why := h.filter.Refused(); why != nil {
		if !h.told {
			h.told = true
			h.pen.p.malformedConn(h.pen, "HTTP: "+why.Reason)
		}
		h.CloseWrite() //nolint:errcheck // gone already, then
		h.pen.drain()
	}
	return h.Conn.Close()
}

// finish ends a connection after an answer that the peer should get to read.
func (c *conn) finish() {
	c.CloseWrite() //nolint:errcheck // gone already, then
	c.drain()
	c.Close()
}

func (c *conn) drain() {
	c.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // gone already, then
	io.CopyN(io.Discard, c.TCPConn, 256<<10)       //nolint:errcheck // nothing more to do
}

// check judges what the filter's grammar can't: it runs before the server sees
// the head.
func (h *httpConn) check(head *wire.Head) *wire.Malformed {
	if head.Upgrade != nil {
		switch up := string(bytes.ToLower(head.Upgrade)); {
		case up == "websocket":
			if string(head.Method) != "GET" || head.Minor == 0 || head.Length != 0 || head.Chunked {
				return &wire.Malformed{Status: http.StatusBadRequest, Reason: "WebSocket handshake is not a GET of HTTP/1.1 without a body"}
			}
		case up == "h2c":
			// RFC 9110 section 7.8: an Upgrade may be ignored. Some clients offer
			// it with every request in clear.
			head.Upgrade = nil
		default:
			return &wire.Malformed{Status: http.StatusNotImplemented, Reason: "Upgrade to a protocol other than websocket"}
		}
	}
	switch {
	case head.Connect():
		if !h.pen.open {
			return &wire.Malformed{Status: http.StatusBadRequest, Reason: "CONNECT inside a connection that has a target"}
		}
		if head.Upgrade != nil || head.Length != 0 || head.Chunked {
			return &wire.Malformed{Status: http.StatusBadRequest, Reason: "CONNECT with a body or an upgrade"}
		}
		return h.sameAuthority(head.Target, head.Host, 443, true)
	case head.Absolute():
		if _, err := url.ParseRequestURI(string(head.Target)); err != nil {
			return &wire.Malformed{Status: http.StatusBadRequest, Reason: "request target is not a URL"}
		}
		return h.sameAuthority(head.Authority(), head.Host, h.pen.defaultPort(), false)
	}
	return nil
}

// sameAuthority compares the request target's authority with Host, which
// net/http drops without a look when both are there.
func (h *httpConn) sameAuthority(authority, host []byte, port uint16, nameOnly bool) *wire.Malformed {
	if host == nil || bytes.Equal(authority, host) {
		return nil
	}
	a, errA := h.pen.p.parseAuthority(string(authority), port)
	b, errB := h.pen.p.parseAuthority(string(host), port)
	if nameOnly && !bytes.Contains(host, []byte(":")) {
		b.Port = a.Port // several clients leave the port out in CONNECT's Host
	}
	if errA != nil || errB != nil {
		return &wire.Malformed{Status: http.StatusBadRequest, Reason: "target or Host is not a host"}
	}
	if a != b {
		return &wire.Malformed{Status: http.StatusMisdirectedRequest, Reason: "request target and Host name different hosts"}
	}
	return nil
}

// answerMalformed answers a message that the filter has refused.
func (p *Proxy) answerMalformed(w http.ResponseWriter, r *http.Request, hc *httpConn) {
	why := hc.filter.Refused()
	if why == nil { // can't be: the path is secret
		why = &wire.Malformed{Status: http.StatusBadRequest, Reason: "refused"}
	}
	hc.told = true
	kind := "malformed"
	if why.Status == http.StatusMisdirectedRequest {
		kind = "target-mismatch"
	}
	p.violation(&hc.pen.binding, audit.Violation{Kind: kind, Detail: "HTTP: " + why.Reason, Target: hc.pen.target, Action: "denied"})
	a := answer{status: why.Status, verdict: "refused", target: hc.pen.target, reason: why.Reason}
	a.write(w, r)
}
