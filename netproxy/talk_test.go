package netproxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/internal/wire"
)

// partner is an origin that says what it gets, and answers each message with what
// answer makes of it.
type partner struct {
	got    chan string
	closed chan websocket.StatusCode
}

func newPartner(pn *pen, answer func(string) string) *partner {
	o := &partner{make(chan string, 1000), make(chan websocket.StatusCode, 1)}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.got <- "extensions " + r.Header.Get("Sec-Websocket-Extensions")
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			typ, b, err := c.Read(r.Context())
			if err != nil {
				o.closed <- websocket.CloseStatus(err)
				return
			}
			o.got <- string(b)
			if a := answer(string(b)); a != "" {
				c.Write(r.Context(), typ, []byte(a))
			}
		}
	})
	pn.origin("api.test:443", h)
	pn.origin("web.test:80", h)
	return o
}

// all returns what it got until its end.
func (o *partner) all() (out []string, code websocket.StatusCode) {
	code = <-o.closed
	for len(o.got) > 0 {
		out = append(out, <-o.got)
	}
	return out, code
}

func talkTo(t *testing.T, pn *pen, u string) (context.Context, *websocket.Conn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	c, resp, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: pn.client("h1"), CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(-1)
	return ctx, c, resp
}

// TestMessageHook: nothing of a message that a hook denies reaches the other side,
// which is told a close, as the one who sent it is, with the reason for the pen; what
// it lets through arrives as what it was. Nothing is compressed.
func TestMessageHook(t *testing.T) {
	for _, i := range []hooks.Inspect{asWhole, asStream} {
		for _, u := range []string{"wss://api.test/", "ws://web.test/"} {
			for _, by := range []string{"pen", "upstream"} {
				t.Run(fmt.Sprintf("stream %t, %s, %s", i.Stream, u, by), func(t *testing.T) {
					h := &bodyHook{}
					pn := newPen(t, someRules, h.on(i, hooks.PointWebSocket))
					o := newPartner(pn, func(s string) string { return strings.ReplaceAll(s, "please", "SECRET") })
					ctx, c, resp := talkTo(t, pn, u)
					if e := resp.Header.Get("Sec-Websocket-Extensions"); e != "" {
						t.Errorf("agreed on %s", e)
					}
					long := strings.Repeat("x", 200_000)
					for typ, m := range map[websocket.MessageType]string{websocket.MessageText: "hello", websocket.MessageBinary: long + "\x00\xff"} {
						if err := c.Write(ctx, typ, []byte(m)); err != nil {
							t.Fatal(err)
						}
						got, b, err := c.Read(ctx)
						if err != nil || got != typ || string(b) != m {
							t.Fatalf("%v %d bytes, %v", got, len(b), err)
						}
						if seen, asked := h.last(); seen != m || !asked[len(asked)-1].Last {
							t.Errorf("saw %d bytes, %+v", len(seen), asked)
						}
					}
					word := map[string]string{"pen": "SECRET", "upstream": "please"}[by]
					c.Write(ctx, websocket.MessageText, []byte(long+word)) // it may be closed in the middle
					typ, b, err := c.Read(ctx)
					if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "denied by hook test: it is secret") {
						t.Errorf("%v %d bytes, %v", typ, len(b), err)
					}
					got, code := o.all()
					if code != websocket.StatusPolicyViolation || got[0] != "extensions " || len(got) != map[string]int{"pen": 3, "upstream": 4}[by] || strings.Contains(strings.Join(got, ""), "SECRET") {
						t.Errorf("the upstream got %d messages, closed with %v", len(got), code)
					}
					cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Status == 101 })
					direction := map[string]string{"pen": "out", "upstream": "in"}[by]
					if cl.Class != "hook" || !strings.Contains(cl.Error, "denied by hook test: it is secret (websocket "+direction+", after ") || len(cl.Hooks) != 1 {
						t.Fatalf("%+v", cl)
					}
					if h := cl.Hooks[0]; h.Point != hooks.PointWebSocket || h.Decision != "deny" || h.Times < uint64(len(got))+2 || h.Reason != "it is secret" {
						t.Errorf("%+v", h)
					}
				})
			}
		}
	}
}

// TestMessageHookPolicy: an expression of a policy is asked, about bodies too, and the
// next message by the policy that holds then.
func TestMessageHookPolicy(t *testing.T) {
	const text = "version: 1\negress: {allow: [{host: api.test}]}\nhooks: [{name: h, on: [%s], cel: 'body.text.contains(%q) ? \"deny: no\" : \"next\"'}]"
	pn := newPen(t, someRules, func(cfg *Config) {
		cfg.Policy = parsePolicy(t, fmt.Sprintf(text, "request_body, websocket", "SECRET"))
	})
	o := newPartner(pn, func(s string) string { return s })
	ctx, c, _ := talkTo(t, pn, "wss://api.test/")
	echo := func(s string) error {
		if err := c.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
			return err
		}
		_, b, err := c.Read(ctx)
		if err == nil && string(b) != s {
			err = fmt.Errorf("it is %q", b)
		}
		return err
	}
	if err := echo("another word"); err != nil {
		t.Error(err)
	}
	pn.p.SetPolicy(parsePolicy(t, fmt.Sprintf(text, "websocket", "word")))
	if err := echo("another word"); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "denied by hook h: no") {
		t.Error(err)
	}
	if got, _ := o.all(); len(got) != 2 {
		t.Errorf("the upstream got %q", got)
	}
	resp, err := pn.client("h1").Post("https://api.test/", "text/plain", strings.NewReader("a word"))
	if err != nil || resp.StatusCode == http.StatusForbidden {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

// TestMessageHookBroken: where the hooks of a new policy can't be asked no message
// passes.
func TestMessageHookBroken(t *testing.T) {
	pn := newPen(t, someRules, (&bodyHook{}).on(asWhole, hooks.PointWebSocket))
	o := newPartner(pn, func(s string) string { return s })
	ctx, c, _ := talkTo(t, pn, "wss://api.test/")
	pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: {allow: [{host: api.test}]}\nhooks: [{name: h, on: [websocket], http: 'https://hooks.test/', key: 'env:K'}]"))
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "can't be asked") {
		t.Error(err)
	}
	if got, _ := o.all(); len(got) != 1 {
		t.Errorf("the upstream got %q", got)
	}
}

// asMessages puts a client's frames behind a handshake, and returns what the origin
// and the client got; each reads until its end.
func asMessages(t *testing.T, pn *pen, pens, upstreams string) (up, down string) {
	t.Helper()
	l := listen(t)
	pn.place("web.test:80", l.Addr().String())
	origin := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			origin <- err.Error()
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, strings.Replace(upgraded, "Sec-WebSocket-Extensions: permessage-deflate\r\n", "", 1)+upstreams)
		origin <- heard(c.(*net.TCPConn), br, true, frame(0x89, false, 0, "late")+frame(0x81, false, 0, "late"))
	}()
	c := pn.dial("web.test:80")
	br := bufio.NewReader(c)
	io.WriteString(c, upgradeHead+pens)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	down = heard(c, br, false, frame(0x89, true, 0, "late"))
	c.Close()
	return <-origin, down
}

// heard is everything that comes. The answer to a close is something that is too late,
// and the end of what is sent.
func heard(c *net.TCPConn, src io.Reader, masked bool, late string) string {
	var all bytes.Buffer
	wire.NewFrames(io.TeeReader(src, &all), masked, nil).Discard()
	io.WriteString(c, late)
	c.CloseWrite()
	io.Copy(&all, src)
	return all.String()
}

// unframed writes down frames of which none is longer than 125 bytes.
func unframed(s string) (out []string) {
	for len(s) >= 2 {
		n, head := int(s[1]&0x7f), 2
		var key [4]byte
		if s[1]&0x80 != 0 {
			head += copy(key[:], s[2:])
		}
		p := []byte(s[head : head+n])
		for i := range p {
			p[i] ^= key[i%4]
		}
		if s[0] == 0x88 && len(p) >= 2 {
			p = fmt.Append(nil, binary.BigEndian.Uint16(p), " ", string(p[2:]))
		}
		out = append(out, fmt.Sprintf("%x %s", s[0], p))
		s = s[head+n:]
	}
	return out
}

// TestMessageFrames: what is no frame ends it with nothing of it passed on, on either
// side; what is one is passed on, control frames at once; nothing behind a close.
func TestMessageFrames(t *testing.T) {
	f := func(first byte, payload string) string { return frame(first, true, 0, payload) }
	g := func(first byte, payload string) string { return frame(first, false, 0, payload) }
	for name, c := range map[string]struct {
		pens, upstreams string
		up, down        []string
		class, why      string
	}{
		"both ways":           {f(0x81, "hi") + f(0x88, "\x03\xe8bye"), g(0x82, "ho") + g(0x88, "\x03\xe8ok"), []string{"81 hi", "88 1000 bye"}, []string{"82 ho", "88 1000 ok"}, "", ""},
		"fragments":           {f(0x01, "a") + f(0x89, "p") + f(0x00, "b") + f(0x80, "c") + f(0x88, ""), g(0x88, ""), []string{"89 p", "81 abc", "88 "}, []string{"88 "}, "", ""},
		"behind a close":      {f(0x88, "") + f(0x81, "after"), g(0x8a, "x") + g(0x88, "") + g(0x81, "after"), []string{"88 "}, []string{"8a x", "88 "}, "", ""},
		"compressed":          {f(0x81, "a") + f(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), "", []string{"81 a", "88 1002 "}, []string{"88 1002 a reserved bit is set, and no extension was agreed"}, "malformed", "a reserved bit"},
		"unknown":             {f(0x83, "x"), "", []string{"88 1002 "}, []string{"88 1002 an opcode that is not known"}, "malformed", "opcode"},
		"not masked":          {g(0x81, "x"), "", []string{"88 1002 "}, []string{"88 1002 a client's frame is not masked"}, "malformed", "not masked"},
		"continuation":        {f(0x80, "x"), "", []string{"88 1002 "}, []string{"88 1002 a continuation of no message"}, "malformed", "continuation"},
		"long control frame":  {f(0x89, strings.Repeat("x", 126)), "", []string{"88 1002 "}, []string{"88 1002 a control frame that is too long, or a part of one"}, "malformed", "control"},
		"length":              {frame(0x81, true, 2, "x"), "", []string{"88 1002 "}, []string{"88 1002 a length that is not written as it has to be"}, "malformed", "length"},
		"no frame":            {"GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n", "", []string{"88 1002 "}, []string{"88 1002 a reserved bit is set, and no extension was agreed"}, "malformed", "reserved"},
		"upstream masks":      {"", f(0x81, "x"), []string{"88 1002 "}, []string{"88 1002 a server's frame is masked"}, "upstream", "masked"},
		"upstream's bits":     {"", g(0xc1, "x"), []string{"88 1002 "}, []string{"88 1002 a reserved bit is set, and no extension was agreed"}, "upstream", "reserved"},
		"denied in fragments": {f(0x01, "a SEC") + f(0x80, "RET") + f(0x88, ""), "", []string{"88 1008 "}, []string{"88 1008 denied by hook test: it is secret"}, "hook", "denied by hook test"},
		"denied, then more":   {f(0x81, "SECRET") + f(0x81, strings.Repeat("after", 1<<19)) + f(0x88, ""), "", []string{"88 1008 "}, []string{"88 1008 denied by hook test: it is secret"}, "hook", "denied by hook test"},
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules, (&bodyHook{}).on(asWhole, hooks.PointWebSocket))
			up, down := asMessages(t, pn, c.pens, c.upstreams)
			if got := unframed(up); !slices.Equal(got, c.up) {
				t.Errorf("the upstream got %q", got)
			}
			if got := unframed(down); !slices.Equal(got, c.down) {
				t.Errorf("the pen got %q", got)
			}
			cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Status == 101 })
			if cl.Class != c.class || !strings.Contains(cl.Error, c.why) {
				t.Errorf("%+v", cl)
			}
			if c.class == "malformed" {
				wait(t, pn.records, func(v *audit.Violation) bool { return v.Kind == "malformed" && strings.Contains(v.Detail, c.why) })
			}
		})
	}
}

// TestMessageBounds: what is longer than a hook looks at is denied, or passes by its
// leave; parts are passed on as they come, and what never ends is held nowhere.
func TestMessageBounds(t *testing.T) {
	open := func(i hooks.Inspect) (*bodyHook, *pen, *partner) {
		h := &bodyHook{}
		pn := newPen(t, someRules, h.on(i, hooks.PointWebSocket), func(c *Config) { c.Limits.BodyBytes = 256 << 10 })
		return h, pn, newPartner(pn, func(s string) string { return fmt.Sprint(len(s)) })
	}
	for name, c := range map[string]struct {
		i    hooks.Inspect
		size int
		why  string
	}{
		"whole":                 {hooks.Inspect{Max: 1000}, 1000, ""},
		"whole, longer":         {hooks.Inspect{Max: 1000}, 1001, "max_body"},
		"whole, longer, passes": {hooks.Inspect{Max: 1000, Over: true}, 500_000, ""},
		"whole, no room":        {hooks.Inspect{}, 300_000, "being kept back"},
		"stream":                {hooks.Inspect{Stream: true}, 16 << 20, ""},
		"stream, overlap":       {hooks.Inspect{Stream: true, Overlap: 1000}, 1 << 20, ""},
		"stream, longer":        {hooks.Inspect{Stream: true, Max: 100_000}, 200_000, "max_body"},
	} {
		t.Run(name, func(t *testing.T) {
			h, pn, o := open(c.i)
			ctx, ws, _ := talkTo(t, pn, "ws://web.test/")
			ws.Write(ctx, websocket.MessageBinary, make([]byte, c.size))
			_, b, err := ws.Read(ctx)
			if c.why == "" {
				if string(b) != fmt.Sprint(c.size) || err != nil {
					t.Errorf("%s, %v", b, err)
				}
				ws.Close(websocket.StatusNormalClosure, "")
				return
			}
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), c.why) {
				t.Error(err)
			}
			got, _ := o.all()
			if seen, _ := h.last(); len(got) != 1 || int64(len(seen)) > c.i.Max && c.i.Max > 0 {
				t.Errorf("the upstream got %d messages, the hook saw %d bytes", len(got), len(seen))
			}
		})
	}
	t.Run("parts", func(t *testing.T) {
		_, pn, _ := open(hooks.Inspect{Stream: true})
		l := listen(t)
		pn.place("web.test:80", l.Addr().String())
		c := pn.dial("web.test:80")
		io.WriteString(c, upgradeHead+frame(0x01, true, 0, "the beginning"))
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		br := bufio.NewReader(up)
		http.ReadRequest(br)
		io.WriteString(up, strings.Replace(upgraded, "Sec-WebSocket-Extensions: permessage-deflate\r\n", "", 1))
		part := make([]byte, 2+4+len("the beginning"))
		if _, err := io.ReadFull(br, part); err != nil || unframed(string(part))[0] != "1 the beginning" {
			t.Errorf("%q, %v", part, err)
		}
		if pn.p.kept.Held() != 0 {
			t.Errorf("%d bytes are held", pn.p.kept.Held())
		}
	})
}

// TestMessageHookAmong: one that is about bodies and about messages lets a WebSocket
// be, and does not where another is about bodies only; a hook about another host
// changes nothing.
func TestMessageHookAmong(t *testing.T) {
	entry := func(name string, on ...hooks.Point) chain.Entry {
		return chain.Entry{Name: name, Hook: &bodyHook{}, On: on}
	}
	both := entry("both", hooks.PointWebSocket, hooks.PointRequestBody)
	for name, c := range map[string]struct {
		entries    []chain.Entry
		status     int
		extensions bool
	}{
		"both":        {[]chain.Entry{both}, 101, false},
		"one is none": {[]chain.Entry{both, entry("blind", hooks.PointResponseBody)}, 403, false},
		"elsewhere": {[]chain.Entry{{Name: "other", Hook: &bodyHook{}, On: []hooks.Point{hooks.PointWebSocket},
			About: func(t *hooks.Target) bool { return t.Host != "api.test" }}}, 101, true},
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules, func(cfg *Config) { cfg.Hooks = c.entries })
			newPartner(pn, func(s string) string { return s })
			ws, resp, err := websocket.Dial(t.Context(), "wss://api.test/", &websocket.DialOptions{HTTPClient: pn.client("h1"), CompressionMode: websocket.CompressionContextTakeover})
			if resp == nil || resp.StatusCode != c.status || (resp.Header.Get("Sec-Websocket-Extensions") != "") != c.extensions {
				t.Fatal(resp, err)
			}
			if err == nil {
				ws.CloseNow()
			}
		})
	}
}

// TestMessageExtension: an upstream that takes an extension which was not offered is
// no WebSocket.
func TestMessageExtension(t *testing.T) {
	pn := newPen(t, someRules, (&bodyHook{}).on(asWhole, hooks.PointWebSocket))
	l := listen(t)
	pn.place("web.test:80", l.Addr().String())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, upgraded)
	}()
	c := pn.dial("web.test:80")
	io.WriteString(c, upgradeHead)
	b, _ := io.ReadAll(c)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 502")) || !bytes.Contains(b, []byte("an extension of WebSocket")) {
		t.Errorf("%s", b)
	}
}

// BenchmarkMessages is a message of 1,000 bytes there and back: without a hook, with
// one about another host's messages, which must cost nothing, and with an expression.
func BenchmarkMessages(b *testing.B) {
	says := func(i hooks.Inspect, host string) func(*Config) {
		return func(cfg *Config) {
			h, err := cel.Language{}.CompileHook(`body.text.contains("SECRET") ? "deny" : "next"`, hooks.PointWebSocket)
			if err != nil {
				b.Fatal(err)
			}
			cfg.Hooks = []chain.Entry{{Name: "h", Hook: h, On: []hooks.Point{hooks.PointWebSocket}, Inspect: i,
				About: func(t *hooks.Target) bool { return t.Host == host }}}
		}
	}
	options := map[string]func(*Config){
		"none": func(*Config) {}, "elsewhere": says(hooks.Inspect{}, "other.test"),
		"whole": says(hooks.Inspect{}, "web.test"), "stream": says(hooks.Inspect{Stream: true}, "web.test"),
	}
	type side struct {
		c    *websocket.Conn
		took []time.Duration
	}
	sides := map[string]*side{}
	ctx := b.Context()
	for name, o := range options {
		pn := newPen(b, someRules, o)
		pn.origin("web.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			for err == nil {
				var typ websocket.MessageType
				var m []byte
				if typ, m, err = c.Read(r.Context()); err == nil {
					err = c.Write(r.Context(), typ, m)
				}
			}
		}))
		c, _, err := websocket.Dial(ctx, "ws://web.test/", &websocket.DialOptions{HTTPClient: pn.client("h1")})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.CloseNow() })
		sides[name] = &side{c: c}
	}
	m := make([]byte, 1000)
	for b.Loop() {
		for _, s := range sides {
			begin := time.Now()
			if err := s.c.Write(ctx, websocket.MessageBinary, m); err != nil {
				b.Fatal(err)
			}
			if _, _, err := s.c.Read(ctx); err != nil {
				b.Fatal(err)
			}
			s.took = append(s.took, time.Since(begin))
		}
	}
	for name, s := range sides {
		slices.Sort(s.took)
		b.ReportMetric(float64(s.took[len(s.took)/2].Nanoseconds())/1e3, "µs-"+name)
	}
}
