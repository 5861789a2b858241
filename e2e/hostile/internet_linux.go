package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// visit is one connection that arrived somewhere.
type visit struct {
	to  netip.AddrPort
	sni string

	mu       sync.Mutex
	raw      bytes.Buffer // what the client sent, decrypted
	requests []request
	hello    string // a TLS client's first bytes
}

type request struct {
	method, host, path string
	header             http.Header
	body               string
}

// recorder is every server of the internet (or of the host): it takes what comes
// at the ports it has, under any name, and writes it down.
type recorder struct {
	t     testing.TB
	w     *world.World
	wg    sync.WaitGroup
	mu    sync.Mutex
	all   []*visit
	certs map[string]*tls.Certificate
	loot  map[string]string
}

func newRecorder(t testing.TB, w *world.World) *recorder {
	return &recorder{t: t, w: w, certs: map[string]*tls.Certificate{}, loot: map[string]string{}}
}

// serve accepts until the test ends. Kind is http, https or tcp.
func (r *recorder) serve(ln net.Listener, kind string) {
	r.t.Cleanup(func() { ln.Close() })
	accepted, done := make(chan net.Conn), make(chan struct{})
	stop := sync.OnceFunc(func() { close(done) })
	r.t.Cleanup(stop)
	deliver := func(c net.Conn) {
		select {
		case accepted <- c:
		case <-done:
			c.Close()
		}
	}
	if kind != "tcp" {
		srv := &http.Server{Handler: http.HandlerFunc(r.answer), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 20 * time.Second,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return context.WithValue(ctx, visitKey{}, c.(*recorded).v)
			}}
		go srv.Serve(&queue{ln, accepted, done})
		r.t.Cleanup(func() { stop(); srv.Close() })
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			v := &visit{to: c.LocalAddr().(*net.TCPAddr).AddrPort()}
			v.to = netip.AddrPortFrom(v.to.Addr().Unmap(), v.to.Port())
			r.mu.Lock()
			r.all = append(r.all, v)
			r.mu.Unlock()
			r.wg.Add(1)
			go func() {
				rc := &recorded{Conn: c, v: v, done: r.wg.Done}
				switch kind {
				case "https":
					c.SetDeadline(time.Now().Add(20 * time.Second))
					first := &tee{Conn: c}
					t := tls.Server(first, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
						v.mu.Lock()
						v.sni = h.ServerName
						v.mu.Unlock()
						return nil, nil
					}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return r.cert(h, v) }})
					err := t.Handshake()
					v.mu.Lock()
					v.hello = string(first.b)
					v.mu.Unlock()
					if err != nil {
						rc.Close()
						return
					}
					rc.Conn = t
					deliver(rc)
				case "http":
					deliver(rc)
				default:
					io.WriteString(rc, "hello\n")
					io.Copy(io.Discard, rc)
					rc.Close()
				}
			}()
		}
	}()
}

func (r *recorder) cert(h *tls.ClientHelloInfo, v *visit) (*tls.Certificate, error) {
	name := h.ServerName
	if name == "" {
		name = v.to.Addr().String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.certs[name]; c != nil {
		return c, nil
	}
	c := r.w.Certificate(name)
	r.certs[name] = &c
	return &c, nil
}

type visitKey struct{}

// answer takes reports, reflects what it is asked to, and is else short.
func (r *recorder) answer(rw http.ResponseWriter, q *http.Request) {
	v := q.Context().Value(visitKey{}).(*visit)
	body, _ := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	if id, ok := strings.CutPrefix(q.URL.Path, "/loot/"); ok && q.Host == "loot.example" {
		r.mu.Lock()
		r.loot[id] = string(body)
		r.mu.Unlock()
		v.mu.Lock()
		v.raw.Reset()
		v.mu.Unlock()
		return
	}
	v.mu.Lock()
	v.requests = append(v.requests, request{q.Method, q.Host, q.URL.Path, q.Header.Clone(), string(body)})
	v.mu.Unlock()
	if strings.HasPrefix(q.URL.Path, "/echo") {
		reflect(rw, q)
	}
	io.WriteString(rw, "arrived\n")
}

// reflect answers with the headers of the request, in a way that the path names.
func reflect(rw http.ResponseWriter, q *http.Request) {
	var all bytes.Buffer
	for k, vs := range q.Header {
		fmt.Fprintln(&all, k, vs)
	}
	how, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	if how == "echo-gzip" && !strings.Contains(q.Header.Get("Accept-Encoding"), "gzip") {
		how = "" // a server that compresses unasked can't be helped
	}
	switch how {
	case "echo-gzip":
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		z.Write(all.Bytes())
		z.Close()
	case "echo-bytes":
		for _, b := range all.Bytes() {
			rw.Write([]byte{b})
			http.NewResponseController(rw).Flush()
		}
	case "echo-trailer":
		rw.Header().Set("Trailer", "Echo")
		io.WriteString(rw, "see below\n")
		rw.Header().Set("Echo", strings.Join(q.Header["X-Api-Key"], ","))
	case "echo-location":
		rw.Header().Set("Location", "https://secret.example/?k="+q.Header.Get("X-Api-Key"))
		rw.WriteHeader(http.StatusFound)
	case "echo-hints":
		rw.Header().Set("Link", "<"+q.Header.Get("X-Api-Key")+">")
		rw.WriteHeader(http.StatusEarlyHints)
	default:
		for k, vs := range q.Header {
			rw.Header()["Echo-"+k] = vs
		}
		rw.Write(all.Bytes())
	}
}

// queue is a listener of connections that another has prepared.
type queue struct {
	net.Listener
	c    chan net.Conn
	done chan struct{}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.c:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// recorded is a connection that writes down what is read from it.
type recorded struct {
	net.Conn
	v    *visit
	once sync.Once
	done func()
}

func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.v.mu.Lock()
	if c.v.raw.Len() < 1<<20 {
		c.v.raw.Write(p[:n])
	}
	c.v.mu.Unlock()
	return n, err
}

func (c *recorded) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}

// tee keeps what a client begins with, in case it is no TLS.
type tee struct {
	net.Conn
	b []byte
}

func (c *tee) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if len(c.b) < 80000 {
		c.b = append(c.b, p[:n]...)
	}
	return n, err
}

// settle waits for what is still being read: after a session has ended its
// connections have too.
func (r *recorder) settle() {
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}

func (r *recorder) visits() []*visit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*visit(nil), r.all...)
}

// with returns what a connection brought that has the text in it, "" if none.
func (r *recorder) with(text string) string {
	for _, v := range r.visits() {
		v.mu.Lock()
		raw, sni := v.raw.String()+v.hello, v.sni
		v.mu.Unlock()
		if i := strings.Index(raw, text); i >= 0 {
			return fmt.Sprintf("%q at %s", raw[max(0, i-60):min(len(raw), i+60)], v.to)
		}
		if strings.Contains(sni, text) {
			return fmt.Sprintf("server name %q at %s", sni, v.to)
		}
	}
	return ""
}

// request returns the first request for which f says yes.
func (r *recorder) request(f func(request) bool) string {
	for _, v := range r.visits() {
		v.mu.Lock()
		for _, q := range v.requests {
			if f(q) {
				v.mu.Unlock()
				return fmt.Sprintf("request %s %s%s at %s", q.method, q.host, q.path, v.to)
			}
		}
		v.mu.Unlock()
	}
	return ""
}

// loosePath is how the most obliging of servers reads a path.
func loosePath(p string) string {
	p = strings.NewReplacer(`\`, "/", "%2f", "/", "%2F", "/", "%2e", ".", "%2E", ".", "%5c", "/", "\x00", "").Replace(p)
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	p = strings.Join(segments, "/")
	return path.Clean("/" + p)
}
