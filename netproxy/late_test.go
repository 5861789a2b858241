package netproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// TestAfterTheEnd: net/http takes a response back when its handler returns, and panics at
// who still uses it. What is late, a flush or a piece of an answer, does nothing.
func TestAfterTheEnd(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var x *web
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Proto != proto {
				t.Errorf("it is %s", r.Proto)
			}
			x = &web{f: &flow{}, w: w}
			x.WriteHeader(http.StatusNoContent)
			x.finish()
		}))
		srv.EnableHTTP2 = proto == "HTTP/2.0"
		srv.StartTLS()
		resp, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		srv.Close() // returns when the handler's response is taken back
		x.Flush()
		x.flushHeaders()
		x.flushBlocked()
		x.WriteHeader(http.StatusOK)
		if err := x.informational(http.StatusEarlyHints, nil); err != nil {
			t.Error(err)
		}
		if n, err := x.Write([]byte("late")); n != 0 || err == nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
}

// TestFlushesOfStreamsThatEnd: streams whose header waits for a body that is late end in
// the moment in which the flush of the header is due.
func TestFlushesOfStreamsThatEnd(t *testing.T) {
	pn := newPen(t, "  allow: [{host: api.test}]")
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len("body")))
		w.(http.Flusher).Flush()
		io.WriteString(w, "body")
	}), "h2")
	c := pn.client("h2")
	var over atomic.Bool
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		for !over.Load() {
			pn.p.sweeper.sweep() // as if its ticks came at once
		}
	}()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 150 {
				resp, err := c.Get(fmt.Sprintf("https://api.test/%d/%d", i, j))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != "body" {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
	all.Wait()
	over.Store(true)
	<-swept
}

// TestPanicAside: a panic in a goroutine beside a flow's own is recorded, and cuts off that
// flow; the others live on.
func TestPanicAside(t *testing.T) {
	pn := newPen(t, "  allow: [{host: raw.test, protocol: tcp, ports: [7]}, {host: api.test}]", func(c *Config) { c.Dialer = badDialer{c.Dialer} })
	pn.origin("api.test:443", http.HandlerFunc(hello))
	panicked := func(flow uint64) {
		t.Helper()
		wait(t, pn.records, func(v *audit.Violation) bool {
			return v.Kind == "panic" && v.Flow == flow && v.Action == "closed" && strings.HasPrefix(v.Detail, "boom\n") && strings.Contains(v.Detail, "late_test.go")
		})
	}

	f := pn.p.newFlow(&binding{})
	f.req.Flow = 77
	f.web.f = f
	f.web.aside(func(*web) { panic("boom") })
	panicked(77)
	if !f.web.broken() {
		t.Error("the answer looks whole")
	}

	c := pn.dial("raw.test:7")
	io.WriteString(c, "\x00raw")
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	panicked(1)
	if resp, _ := get(t, pn.client("h2"), "https://api.test/"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// badDialer makes connections to port 7 at which a write panics.
type badDialer struct{ Dialer }

func (d badDialer) Dial(ctx context.Context, t hooks.Target, how *policy.Dial) (net.Conn, error) {
	if t.Port != 7 {
		return d.Dialer.Dial(ctx, t, how)
	}
	c, far := net.Pipe()
	go func() { <-ctx.Done(); far.Close() }()
	return badConn{c}, nil
}

type badConn struct{ net.Conn }

func (badConn) Write([]byte) (int, error) { panic("boom") }
