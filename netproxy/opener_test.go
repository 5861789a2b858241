package netproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// openers knows who opened each connection: a process for each port.
type openers struct {
	mu    sync.Mutex
	asked map[netip.AddrPort]int
	by    map[netip.AddrPort]*hooks.Process
	to    []netip.AddrPort
}

func (o *openers) who(_ context.Context, client, server netip.AddrPort) *hooks.Process {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked == nil {
		o.asked, o.by = map[netip.AddrPort]int{}, map[netip.AddrPort]*hooks.Process{}
	}
	o.asked[client]++
	o.to = append(o.to, server)
	shell := &hooks.Process{PID: 7, UID: 1000, Exe: hooks.Executable{Path: "/bin/sh", Dev: 0x801, Ino: 9}, Args: []string{"sh"}}
	o.by[client] = &hooks.Process{PID: int(client.Port()), TID: int(client.Port()) + 1, Start: 5, Parent: shell,
		Exe: hooks.Executable{Path: "/bin/tool", SHA256: fmt.Sprintf("%064d", 1)}, Args: []string{"tool", "-x"}}
	return o.by[client]
}

// Each request carries who opened its connection, which is asked for once.
func TestWho(t *testing.T) {
	for _, proto := range []string{"h1", "h2", "h2c"} {
		t.Run(proto, func(t *testing.T) {
			var o openers
			pn := newPen(t, someRules, func(c *Config) { c.Who = o.who })
			pn.origin("api.test:443", http.HandlerFunc(hello))
			pn.origin("web.test:80", http.HandlerFunc(hello))
			var early atomic.Int64
			pn.p.Chain().OnRequest().DoFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
				if f := FlowOf(r); f == nil || f.Process == nil || f.Process.Parent == nil {
					early.Add(1)
				}
				return r, nil
			})
			cl, url := pn.client(proto), "https://api.test/x"
			if proto == "h2c" {
				url = "http://web.test/x"
			}
			get(t, cl, url)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if resp, err := cl.Get(url); err != nil {
						t.Error(err)
					} else {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				})
			}
			all.Wait()
			if n := early.Load(); n != 0 {
				t.Errorf("%d requests were judged before it was known who asked", n)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			for c, n := range o.asked {
				if n != 1 {
					t.Errorf("%s: asked %d times", c, n)
				}
			}
			if want := netip.AddrPortFrom(pn.address("api.test"), 443); proto != "h2c" && o.to[0] != want {
				t.Errorf("asked about a connection to %s, want %s", o.to[0], want)
			}
			// Each flow's number is that of a record before it.
			pids := map[uint64]int{}
			for _, e := range pn.records.all() {
				switch e := e.(type) {
				case *audit.Process:
					if pids[e.Number] != 0 || e.Parent >= e.Number || e.Parent == 0 && e.PID != 7 {
						t.Errorf("%+v", e)
					}
					pids[e.Number] = e.PID
				case *audit.FlowOpen:
					p := o.by[e.Client]
					if p == nil || pids[e.Process] != p.PID || e.PID != p.PID || e.TID != p.TID || e.Exe != "/bin/tool" {
						t.Errorf("%+v by %+v", e, p)
					}
				}
			}
		})
	}
}

// What is not HTTP, and what is refused before a request, says who it was too.
func TestWhoOfOthers(t *testing.T) {
	var o openers
	pn := newPen(t, someRules, func(c *Config) { c.Who = o.who })
	conn, err := net.Dial("tcp", pn.explicit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "\x05\x01\x00\x05\x01\x00\x03\x09evil.test\x00\x19")
	io.Copy(io.Discard, conn)
	conn, err = net.Dial("tcp", pn.explicit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "CONNECT evil.test:22 HTTP/1.1\r\nHost: evil.test:22\r\n\r\n")
	io.Copy(io.Discard, conn)
	raw := pn.dial("evil.test:25")
	io.WriteString(raw, "\x00\x01\x02")
	io.Copy(io.Discard, raw)
	bad := pn.dial("web.test:80")
	io.WriteString(bad, "GET / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
	io.Copy(io.Discard, bad)
	v := wait(t, pn.records, func(v *audit.Violation) bool { return v.Kind == "malformed" })
	if v.PID == 0 || v.Process == 0 {
		t.Errorf("%+v", v)
	}
	for _, e := range pn.records.all() {
		if f, ok := e.(*audit.FlowOpen); ok && (f.Process == 0 || f.PID == 0) {
			t.Errorf("%+v", f)
		}
	}
}

// Nobody known: nothing waits longer than it may, and a panic harms nobody else.
func TestWhoUnknown(t *testing.T) {
	for name, who := range map[string]func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process{
		"late":  func(ctx context.Context, _, _ netip.AddrPort) *hooks.Process { <-ctx.Done(); return nil },
		"none":  func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return nil },
		"panic": func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules, func(c *Config) { c.Who, c.Limits.Who = who, 50*time.Millisecond })
			pn.origin("api.test:443", http.HandlerFunc(hello))
			if resp, _ := get(t, pn.client("h1"), "https://api.test/"); resp.StatusCode != 200 {
				t.Error(resp.Status)
			}
			f := wait(t, pn.records, func(*audit.FlowOpen) bool { return true })
			if f.Process != 0 || f.PID != 0 || f.Exe != "" {
				t.Errorf("%+v", f)
			}
		})
	}
	// The end does not wait for an answer.
	asked := make(chan struct{}, 1)
	pn := newPen(t, someRules, func(c *Config) {
		c.Limits.Who = time.Hour
		c.Who = func(ctx context.Context, _, _ netip.AddrPort) *hooks.Process {
			asked <- struct{}{}
			<-ctx.Done()
			return nil
		}
	})
	pn.dial("web.test:80").Write([]byte("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"))
	<-asked
	pn.p.Close()
}

// An unwritable record of the process is as good as one of the flow: denied.
func TestWhoUnrecorded(t *testing.T) {
	var o openers
	pn := newPen(t, someRules, func(c *Config) { c.Who = o.who })
	pn.all()
	pn.records.mu.Lock()
	pn.records.fail = io.ErrShortWrite
	pn.records.mu.Unlock()
	if resp, _ := get(t, pn.client("h1"), "https://api.test/"); resp.StatusCode != http.StatusServiceUnavailable || len(pn.dialed()) != 0 {
		t.Errorf("%s, dialled %v", resp.Status, pn.dialed())
	}
}

// BenchmarkWho is a request on a connection that is there already, without and
// with somebody who knows the process.
func BenchmarkWho(b *testing.B) {
	var o openers
	for name, who := range map[string]func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process{"nobody": nil, "known": o.who} {
		b.Run(name, func(b *testing.B) {
			pn := newPen(b, someRules, func(c *Config) { c.Who, c.Record = who, quiet{} })
			pn.origin("api.test:443", http.HandlerFunc(hello))
			cl := pn.client("h1")
			get(b, cl, "https://api.test/")
			for b.Loop() {
				get(b, cl, "https://api.test/")
			}
		})
	}
}

// quiet records nothing.
type quiet struct{}

func (quiet) Append(audit.Event) error { return nil }
func (quiet) Note(audit.Event)         {}

func (r *records) all() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]audit.Event(nil), r.list...)
}
