package netproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// clock is a ledger's time in a test.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func ledgerOf(t testing.TB, rules ...string) (l *ledger, c *clock, ms []meter) {
	t.Helper()
	c = &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	l = newLedger()
	l.now = c.now
	p := parsePolicy(t, "version: 1\negress: {allow: ["+strings.Join(rules, ", ")+"]}")
	all := l.meters(p)
	for _, b := range p.Budgets() {
		ms = append(ms, all[b])
	}
	return l, c, ms
}

func TestLedger(t *testing.T) {
	l, c, ms := ledgerOf(t, "{host: a, budget: {requests: 10, bytes_out: 1KiB, per: hour}}", "{host: b, budget: {requests: 5, rate: 2/s}}")
	hour, session := ms[:1], ms[1:]
	ok := func(ms []meter, out, more int64) (string, error) {
		notes, err := l.admit(ms, out, more)
		s := ""
		for _, n := range notes {
			s += n.Action + " " + n.Detail + ";"
		}
		return s, err
	}
	for i := range 10 {
		notes, err := ok(hour, 10, 0)
		want := map[int]string{7: "near test.yaml:2: 8 of 10 requests per hour;", 9: "reached test.yaml:2: 10 of 10 requests per hour;"}[i]
		if err != nil || notes != want {
			t.Fatalf("%d: %q %v", i, notes, err)
		}
	}
	c.t = c.t.Add(59*time.Minute + 500*time.Millisecond)
	if _, err := ok(hour, 10, 0); err == nil || err.Error() != "the budget of test.yaml:2 is used up: 10 requests per hour, again in 60 s" {
		t.Errorf("%v", err)
	}
	c.t = c.t.Add(time.Minute)
	if _, err := ok(hour, 10, 2000); err == nil || !strings.Contains(err.Error(), "1024 bytes out per hour") {
		t.Errorf("declares too much: %v", err)
	}
	if _, err := ok(hour, 1000, 24); err != nil {
		t.Errorf("new hour: %v", err)
	}
	if n, _, err := l.take(hour, bytesOut, 25); n != 24 || err == nil {
		t.Errorf("took %d %v", n, err)
	}

	// In no second more than two, whatever the phase.
	at := func(d time.Duration) { c.t = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(d) }
	for _, step := range []struct {
		ms   time.Duration
		want string
	}{{0, ""}, {900, ""}, {950, "again in 1 s"}, {1000, ""}, {1100, "again in 1 s"}, {1900, ""}, {1901, "again in 1 s"}, {9000, ""}, {10001, "5 requests per session"}} {
		at(step.ms * time.Millisecond)
		_, err := ok(session, 0, 0)
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.HasSuffix(err.Error(), step.want)) {
			t.Errorf("at %d: %v", step.ms, err)
		}
	}
	// Both or neither.
	ok(ms, 0, 0) // another hour has begun
	used := ms[0].used[requests]
	if _, err := ok(ms, 0, 0); err == nil || ms[0].used[requests] != used {
		t.Errorf("counted against one of two: %v", err)
	}
	// A policy with other numbers goes on with what was used.
	p := parsePolicy(t, "version: 1\negress: {allow: [{host: b, budget: {requests: 7}}, {host: b, budget: {requests: 100}}]}")
	again := l.meters(p)
	for range 2 {
		if _, err := ok([]meter{again[p.Budgets()[0]]}, 0, 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := ok([]meter{again[p.Budgets()[0]]}, 0, 0); err == nil {
		t.Error("a new policy gave a new budget")
	}
	if m := again[p.Budgets()[1]]; m.used[requests] != 0 {
		t.Error("a second rule of the same words shares the first one's count")
	}
}

// A flood from many connections and in both protocols gets exactly what is allowed.
func TestBudgetFlood(t *testing.T) {
	const limit = 100
	pn := newPen(t, fmt.Sprintf("  allow:\n    - {host: api.test, budget: {requests: %d}}\n    - {host: '*.test'}\n", limit))
	var reached atomic.Int64
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached.Add(1) }))
	clients := []*http.Client{pn.client("h1"), pn.client("h2"), pn.client("h1")}
	var wg sync.WaitGroup
	var ok, refused atomic.Int64
	for i := range 24 {
		wg.Go(func() {
			for range 20 {
				resp, err := clients[i%3].Get("https://api.test/")
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == 200:
					ok.Add(1)
				case resp.StatusCode == 429 && strings.Contains(string(b), "the budget of test.yaml:4 is used up: 100 requests per session") && resp.Header.Get("Retry-After") == "":
					refused.Add(1)
				default:
					t.Errorf("%s %s", resp.Status, b)
				}
			}
		})
	}
	wg.Wait()
	if reached.Load() != limit || ok.Load() != limit || refused.Load() != 24*20-limit {
		t.Errorf("%d reached the origin, %d were answered, %d refused", reached.Load(), ok.Load(), refused.Load())
	}
	for _, action := range []string{"near", "reached"} {
		if n := pn.records.count(func(e audit.Event) bool {
			l, ok := e.(*audit.Limit)
			return ok && l.Kind == "budget" && l.Action == action
		}); n != 1 {
			t.Errorf("%d records that it is %s", n, action)
		}
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "budget" && e.Status == 429 })
}

// What goes out and comes in is counted while it streams, and cut.
func TestBudgetBytes(t *testing.T) {
	const limit = 256 << 10
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			pn := newPen(t, "  allow:\n    - {host: up.test, methods: [POST], budget: {bytes_out: 256KiB, per: hour}}\n    - {host: down.test, budget: {bytes_in: 256KiB}}\n    - {host: up.test, methods: [GET]}\n")
			got := make(chan int64, 10)
			pn.origin("up.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				got <- n + headSize(len(r.Method)+len(r.RequestURI), r.Header)
			}))
			pn.origin("down.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, _ := strconv.Atoi(r.URL.Query().Get("n"))
				if r.URL.Path == "/declared" {
					w.Header().Set("Content-Length", strconv.Itoa(n))
				}
				if r.Method != http.MethodHead {
					io.CopyN(w, endless{}, int64(n))
				}
			}))
			c := pn.client(proto)
			post := func(n int64, declared bool) (*http.Response, error) {
				body := io.Reader(io.LimitReader(endless{}, n))
				req, _ := http.NewRequest("POST", "https://up.test/", body)
				req.ContentLength = -1
				if declared {
					req.ContentLength = n
				}
				resp, err := c.Do(req)
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				return resp, err
			}
			resp, err := post(100<<10, true)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			first := <-got
			resp, err = post(200<<10, true)
			if err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("declares too much: %v %v", resp, err)
			}
			resp, err = post(1<<20, false)
			if err == nil && resp.StatusCode != 429 {
				t.Errorf("sends too much: %s", resp.Status)
			}
			if second := <-got; first+second > limit || proto == "h1" && first+second < limit-64<<10 { // HTTP/2's reset drops what was not read
				t.Errorf("%d and %d bytes went out of %d", first, second, limit)
			}
			if resp, _ := get(t, c, "https://up.test/"); resp.StatusCode != 200 {
				t.Errorf("a request that the rule is not about: %s", resp.Status)
			}

			fetch := func(url string) (int, int, error) {
				resp, err := c.Get(url)
				if err != nil {
					return 0, 0, err
				}
				defer resp.Body.Close()
				n, err := io.Copy(io.Discard, resp.Body)
				return resp.StatusCode, int(n), err
			}
			if resp, err := c.Head("https://down.test/declared?n=10000000"); err != nil || resp.StatusCode != 200 {
				t.Errorf("HEAD: %v %v", resp, err)
			}
			if status, _, err := fetch("https://down.test/declared?n=10000000"); err != nil || status != 429 {
				t.Errorf("declares too much: %d %v", status, err)
			}
			if status, n, err := fetch("https://down.test/?n=10000000"); status != 200 || err == nil || n > limit || n < limit-64<<10 {
				t.Errorf("sends too much: %d, %d bytes, %v", status, n, err)
			}
			if status, _, err := fetch("https://down.test/?n=1"); err != nil || status != 429 {
				t.Errorf("used up: %d %v", status, err)
			}
			wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "budget" && e.BytesDown > limit-64<<10 })
			wait(t, pn.records, func(e *audit.Limit) bool { return e.Action == "reached" && strings.Contains(e.Detail, "bytes in") })
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Raw bytes could hold what a rule counts; WebSockets do.
func TestBudgetRaw(t *testing.T) {
	const limit = 64 << 10
	pn := newPen(t, "  allow:\n    - {host: raw.test, budget: {requests: 2, bytes_out: 64KiB}}\n    - {host: raw.test, ports: [443], protocol: tcp}\n    - {host: ws.test, budget: {bytes_out: 64KiB}}\n")
	l := listen(t)
	pn.place("raw.test:443", l.Addr().String())
	got := make(chan int64, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				n, _ := io.Copy(io.Discard, c)
				got <- n
				c.Close()
			}()
		}
	}()
	c := pn.dial("raw.test:443")
	io.CopyN(c, endless{}, 10<<10)
	c.CloseWrite()
	if n := <-got; n != 10<<10 {
		t.Errorf("%d bytes", n)
	}
	c = pn.dial("raw.test:443")
	io.CopyN(c, endless{}, 1<<20)
	c.CloseWrite()
	if n := <-got; n != limit-10<<10 {
		t.Errorf("%d bytes", n)
	}
	c = pn.dial("raw.test:443")
	io.WriteString(c, "x")
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the third connection was not reset")
	}
	wait(t, pn.records, func(e *audit.FlowOpen) bool {
		return strings.Contains(e.Reason, "the budget of test.yaml:4 is used up") && e.Verdict == hooks.Deny && e.Mode == "enforce"
	})
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "budget" && e.BytesUp == 0 })

	sent := make(chan int, 1)
	pn.origin("ws.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		ws.SetReadLimit(1 << 20)
		n := 0
		for {
			_, b, err := ws.Read(r.Context())
			if n += len(b); err != nil {
				break
			}
		}
		ws.CloseNow()
		sent <- n
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://ws.test/", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	for range 100 {
		if ws.Write(ctx, websocket.MessageBinary, make([]byte, 1<<10)) != nil {
			break
		}
	}
	if n := <-sent; n > limit || n < limit-8<<10 {
		t.Errorf("%d bytes by WebSocket", n)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.Class == "budget" })
}

// What comes down a WebSocket, what was read before a relay begins, and what is
// passed through.
func TestBudgetWays(t *testing.T) {
	const limit = 16 << 10
	pn := newPen(t, "  default: allow\n  allow:\n    - {host: ws.test, budget: {bytes_in: 16KiB}}\n    - {host: raw.test, budget: {bytes_out: 1KiB}}\n    - {host: pass.test, inspect: false, budget: {requests: 1}}\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pn.origin("ws.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for ws.Write(ctx, websocket.MessageBinary, make([]byte, 1<<10)) == nil {
		}
	}))
	ws, _, err := websocket.Dial(ctx, "wss://ws.test/", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	n := 0
	for err == nil {
		var b []byte
		_, b, err = ws.Read(ctx)
		n += len(b)
	}
	if n > limit || n < limit-4<<10 {
		t.Errorf("%d bytes came down a WebSocket", n)
	}

	l := listen(t)
	pn.place("raw.test:443", l.Addr().String())
	c := pn.dial("raw.test:443")
	io.WriteString(c, strings.Repeat("\x00", 2048)) // neither TLS nor HTTP
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(up)
	up.Close()
	if len(b) > 1024 {
		t.Errorf("%d bytes went out that were read early", len(b))
	}

	pn.origin("pass.test:443", http.HandlerFunc(hello))
	pass := func() error {
		tr := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return pn.connect(ctx, addr) }, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://pass.test/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := pass(); err != nil {
		t.Error(err)
	}
	if err := pass(); err == nil {
		t.Error("a second connection was passed through")
	}
}

// Bytes that come with the handshake of a WebSocket count like those after it.
func TestWebSocketEarlyBytes(t *testing.T) {
	pn := newPen(t, "  allow:\n    - {host: ws.test}\n")
	pn.origin("ws.test:80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		b := make([]byte, 10)
		io.ReadFull(rw, b)
		nc.Write(b)
	}))
	c := pn.dial("ws.test:80")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n0123456789")
	b, _ := io.ReadAll(c)
	if !strings.HasSuffix(string(b), "0123456789") {
		t.Errorf("%q", b)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.BytesUp == 10 && e.BytesDown == 10 })
}

func BenchmarkAdmit(b *testing.B) {
	for name, rule := range map[string]string{"none": "{host: a}", "one": "{host: a, budget: {requests: 1000000000000}}", "rate": "{host: a, budget: {rate: 10000/s}}"} {
		b.Run(name, func(b *testing.B) {
			p := parsePolicy(b, "version: 1\negress: {allow: ["+rule+"]}")
			px := &Proxy{ledger: newLedger(), cfg: Config{Record: quiet{}}}
			px.rules.Store(px.newGeneration(p))
			b.ReportAllocs()
			for b.Loop() {
				f := flow{p: px, gen: px.rules.Load(), budgets: p.Budgets()}
				f.admit(200, 0) //nolint:errcheck // the rate may refuse
				f.take(bytesIn, 1000)
			}
		})
	}
}
