package netproxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// origins makes every name that a test could be led to answer.
func (pn *pen) all() {
	for _, n := range []string{"api.test:443", "evil.test:443", "other.test:443", "web.test:80", "other.test:80", "evil.test:80", "paths.test:443"} {
		pn.origin(n, http.HandlerFunc(hello))
	}
}

// tls opens a terminated connection in the pen.
func (pn *pen) tls(target, sni string, alpn ...string) *tls.Conn {
	pn.t.Helper()
	c := tls.Client(pn.dial(target), &tls.Config{RootCAs: pn.trust, ServerName: sni, InsecureSkipVerify: sni == "", NextProtos: alpn})
	if err := c.Handshake(); err != nil {
		pn.t.Fatal(err)
	}
	return c
}

// say sends bytes and returns the statuses of the answers until the end.
func say(t testing.TB, c net.Conn, in string) (statuses []int, last string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(c, in)
	r := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, last
		}
		b, _ := io.ReadAll(resp.Body)
		last = string(b)
		statuses = append(statuses, resp.StatusCode)
		if resp.Close {
			return statuses, last
		}
	}
}

// Everything in a request must say the name of the connection: else 421 (or 400
// when it says nothing that can be read), before anything is dialled.
func TestInvariant03OneName(t *testing.T) {
	const end = "Connection: close\r\n\r\n"
	for name, c := range map[string]struct {
		target, sni, in string
		want            []int
	}{
		"same":               {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{200}},
		"same with port":     {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: API.test.:443\r\n" + end, []int{200}},
		"same absolute":      {"api.test:443", "api.test", "GET https://api.test/ HTTP/1.1\r\nHost: api.test\r\n" + end, []int{200}},
		"no SNI":             {"api.test:443", "", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{200}},
		"1.0 without Host":   {"api.test:443", "api.test", "GET / HTTP/1.0\r\n\r\n", []int{200}},
		"another Host":       {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"second request":     {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n" + end, []int{200, 421}},
		"denied Host":        {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: evil.test\r\n" + end, []int{421}},
		"another port":       {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test:444\r\n" + end, []int{421}},
		"port of http":       {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test:80\r\n" + end, []int{421}},
		"absolute elsewhere": {"api.test:443", "api.test", "GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"absolute and Host":  {"api.test:443", "api.test", "GET https://api.test/ HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"Host and absolute":  {"api.test:443", "api.test", "GET https://other.test/ HTTP/1.1\r\nHost: api.test\r\n" + end, []int{421}},
		"absolute scheme":    {"api.test:443", "api.test", "GET http://api.test:443/ HTTP/1.1\r\nHost: api.test:443\r\n" + end, []int{421}},
		"userinfo":           {"api.test:443", "api.test", "GET https://other.test@api.test/ HTTP/1.1\r\nHost: api.test\r\n" + end, []int{400}},
		"another SNI":        {"api.test:443", "other.test", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{421}},
		"SNI as Host":        {"api.test:443", "other.test", "GET / HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"SNI, denied name":   {"evil.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{421}},
		"literal, SNI":       {"192.0.2.7:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{421}},
		"literal, Host":      {"192.0.2.7:443", "", "GET / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{421}},
		"literal":            {"192.0.2.7:443", "", "GET / HTTP/1.1\r\nHost: 192.0.2.7\r\n" + end, []int{403}},
		"odd address":        {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: 0x7f000001\r\n" + end, []int{400}},
		"look-alike":         {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test.evil.test\r\n" + end, []int{421}},
		"kelvin":             {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api\xe2\x84\xaa.test\r\n" + end, []int{400}},
		"bad escape":         {"api.test:443", "api.test", "GET /%zz HTTP/1.1\r\nHost: api.test\r\n" + end, []int{400}},
		"bad URL":            {"", "-", "GET http://web.test:x/ HTTP/1.1\r\nHost: web.test:x\r\n" + end, []int{400}},
		"empty host":         {"", "-", "GET http:/// HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}},
		"two Hosts":          {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\nHost: other.test\r\n" + end, []int{400}},
		"CONNECT inside":     {"api.test:443", "api.test", "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n", []int{400}},
		"OPTIONS *":          {"api.test:443", "api.test", "OPTIONS * HTTP/1.1\r\nHost: api.test\r\n" + end, []int{400}},
		"TRACE":              {"api.test:443", "api.test", "TRACE / HTTP/1.1\r\nHost: api.test\r\n" + end, []int{405}},
		"preface inside":     {"api.test:443", "api.test", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400}},
		"upgrade":            {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", []int{501}},
		"websocket, POST":    {"api.test:443", "api.test", "POST / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", []int{400}},
		"both lengths":       {"api.test:443", "api.test", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n", []int{400}},
		"clear: same":        {"web.test:80", "-", "GET / HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}},
		"clear: h2c offered": {"web.test:80", "-", "GET / HTTP/1.1\r\nHost: web.test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\r\n", []int{200}},
		"clear: another":     {"web.test:80", "-", "GET / HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"clear: absolute":    {"web.test:80", "-", "GET http://other.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{421}},
		"clear: https URL":   {"web.test:80", "-", "GET https://web.test:80/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{421}},
		"open: same":         {"", "-", "GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}},
		"open: Host differs": {"", "-", "GET http://web.test/ HTTP/1.1\r\nHost: other.test\r\n" + end, []int{421}},
		"open: two targets":  {"", "-", "GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n\r\nGET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n" + end, []int{200, 403}},
		"open: https":        {"", "-", "GET https://web.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{421}},
		"open: path only":    {"", "-", "GET / HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}},
		"open: ftp":          {"", "-", "GET ftp://web.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{421}},
		"open: CONNECT Host": {"", "-", "CONNECT api.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n", []int{421}},
		"open: CONNECT path": {"", "-", "CONNECT /x HTTP/1.1\r\nHost: other.test:443\r\n\r\n", []int{400}},
		"websocket, 421":     {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\nHost: api.test\n\n", []int{421}},
		"websocket, no 101":  {"api.test:443", "api.test", "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\nHost: api.test\n\n", []int{200}},
		"open: then another": {"", "-", "CONNECT evil.test:22 HTTP/1.1\r\nHost: evil.test:22\r\n\r\nGET http://web.test/ HTTP/1.1\nHost: web.test\n\n", []int{403}},
		"open: denied":       {"", "-", "CONNECT evil.test:22 HTTP/1.1\r\nHost: evil.test:22\r\n\r\n", []int{403}},
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules)
			pn.all()
			var conn net.Conn
			switch {
			case c.target == "":
				var err error
				if conn, err = net.Dial("tcp", pn.explicit); err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			case c.sni == "-":
				conn = pn.dial(c.target)
			default:
				conn = pn.tls(c.target, c.sni)
			}
			got, body := say(t, conn, c.in)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Fatalf("%v, want %v: %q", got, c.want, body)
			}
			allowed := 0
			for _, s := range c.want {
				if s == 200 {
					allowed++
				}
			}
			if d := pn.dialed(); len(d) > allowed {
				t.Errorf("dialled %v", d)
			}
			if len(got) > 0 && got[len(got)-1] >= 400 && !strings.Contains(body, "penstock: ") {
				t.Errorf("not explained: %q", body)
			}
			if n := pn.records.count(func(e audit.Event) bool {
				switch e := e.(type) {
				case *audit.FlowOpen:
					return true
				case *audit.Violation:
					return e.Flow == 0
				}
				return false
			}); n < len(c.want) {
				t.Errorf("%d records of %d requests", n, len(c.want))
			}
		})
	}
}

// Each stream of HTTP/2 is compared, not only the first.
func TestInvariant03OneNameHTTP2(t *testing.T) {
	pn := newPen(t, someRules)
	pn.all()
	c := pn.tls("api.test:443", "api.test", "h2")
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()
	ask := func(id uint32, fields ...string) string {
		t.Helper()
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		for i := 0; i < len(fields); i += 2 {
			enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndStream: true, EndHeaders: true})
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatalf("stream %d: %v", id, err)
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if f.StreamID == id {
					return f.PseudoValue("status")
				}
			case *http2.RSTStreamFrame:
				if f.StreamID == id {
					return "reset"
				}
			case *http2.GoAwayFrame:
				t.Fatalf("stream %d: %v %s", id, f, f.DebugData())
			case *http2.SettingsFrame:
				if !f.IsAck() {
					fr.WriteSettingsAck()
				}
			}
		}
	}
	for i, s := range []struct {
		want   string
		fields []string
	}{
		{"200", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test"}},
		{"421", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "other.test"}},
		{"421", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test", "host", "other.test"}},
		{"200", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test", "host", "api.test"}},
		{"421", []string{":method", "GET", ":scheme", "https", ":path", "/", "host", "other.test"}},
		{"400", []string{":method", "GET", ":scheme", "https", ":path", "/%2e%2e%2f", ":authority", "api.test"}},
		{"421", []string{":method", "GET", ":scheme", "https", ":path", "https://other.test/", ":authority", "api.test"}},
		{"400", []string{":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "api.test"}},
		{"400", []string{":method", "CONNECT", ":authority", "other.test:443"}},
		{"405", []string{":method", "TRACE", ":scheme", "https", ":path", "/", ":authority", "api.test"}},
		{"400", []string{":method", "get", ":scheme", "https", ":path", "/", ":authority", "api.test"}},
		{"400", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test", "connection", "upgrade"}},
		{"200", []string{":method", "GET", ":scheme", "https", ":path", "/again", ":authority", "api.test:443"}},
	} {
		if got := ask(uint32(2*i+1), s.fields...); got != s.want {
			t.Errorf("%v: %s, want %s", s.fields, got, s.want)
		}
	}
	if d := pn.dialed(); len(d) > 1 {
		t.Errorf("dialled %v", d)
	}
}

// What a hop must not pass on does not arrive; what it must pass on does.
func TestHeaders(t *testing.T) {
	pn := newPen(t, someRules)
	got := make(chan http.Header, 1)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		h := w.Header()
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Alt-Svc", `h3="other.test:443"`)
		h.Set("Upgrade", "h2c")
		h["Content-Type"] = nil
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		io.WriteString(w, "<html>")
	}))
	c := pn.tls("api.test:443", "api.test")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close, X-Name, keep-alive\r\nX-Name: 1\r\nX-Other: 2\r\nTE: gzip, trailers\r\n"+
		"Keep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nAccept-Encoding: zstd\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	h := <-got
	want := http.Header{"X-Other": {"2"}, "Te": {"trailers"}, "Accept-Encoding": {"zstd"}}
	if fmt.Sprint(h) != fmt.Sprint(want) {
		t.Errorf("the origin got %v, want %v", h, want)
	}
	for _, name := range []string{"X-Hop", "Keep-Alive", "Alt-Svc", "Upgrade", "Content-Type", "Via"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("the client got %s: %v", name, v)
		}
	}
	if len(resp.Header["Set-Cookie"]) != 2 {
		t.Errorf("cookies: %v", resp.Header)
	}
}

// Whoever is silent or slow is sent away.
func TestSlow(t *testing.T) {
	const limit = 250 * time.Millisecond
	pn := newPen(t, someRules, func(c *Config) {
		c.Limits = Limits{FirstByte: limit, Refused: limit, Handshake: limit, Header: limit, Idle: limit}
	})
	pn.all()
	tlsHalf := make([]byte, 20)
	copy(tlsHalf, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	for name, in := range map[string]string{
		"silence": "", "half a hello": string(tlsHalf), "half a method": "GE", "half a preface": "PRI * HT",
		"half a head": "GET / HTTP/1.1\r\nHost: web.test\r\nX-", "idle": "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pn.dial("web.test:80")
			io.WriteString(c, in)
			start := time.Now()
			io.Copy(io.Discard, c)
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("held for %s", d)
			}
		})
	}
	t.Run("explicit", func(t *testing.T) {
		for _, in := range []string{"", "\x05", "\x05\x01\x00\x05\x01\x00\x03\x04a", "CONNECT a"} {
			c, err := net.Dial("tcp", pn.explicit)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, in)
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("%q: held", in)
			}
			c.Close()
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	pn := newPen(t, someRules, func(c *Config) { c.Limits.Connections = 3 })
	pn.all()
	var open []net.Conn
	for range 3 {
		c := pn.tls("api.test:443", "api.test")
		open = append(open, c)
	}
	c, err := net.Dial("tcp", pn.captured)
	if err == nil {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("fourth connection: %v", err)
		}
		c.Close()
	}
	for _, c := range open {
		c.Close()
	}
	if pn.p.Stats().Overload == 0 {
		t.Error("not counted")
	}
}

// A client with a trust store of its own is told apart, for the end of the run.
func TestPinnedClient(t *testing.T) {
	notice := make(chan string, 4)
	pn := newPen(t, someRules, func(c *Config) { c.Notice = func(s string) { notice <- s } })
	for range 2 {
		c := tls.Client(pn.dial("api.test:443"), &tls.Config{ServerName: "api.test"})
		if err := c.Handshake(); err == nil {
			t.Fatal("handshake without trust")
		}
		c.Close()
	}
	o := wait(t, pn.records, func(e *audit.FlowOpen) bool { return strings.Contains(e.Reason, "inspect: false") })
	if o.Verdict != hooks.Deny || !strings.Contains(o.Reason, "SSL_CERT_FILE") {
		t.Errorf("%+v", o)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "client-rejects-ca" })
	if s := <-notice; !strings.Contains(s, "api.test:443") || len(notice) != 0 {
		t.Errorf("notice %q and %d more", s, len(notice))
	}
	if p := pn.p.Stats().Pinned; len(p) != 1 || p[0] != "api.test" {
		t.Errorf("pinned: %v", p)
	}
}
