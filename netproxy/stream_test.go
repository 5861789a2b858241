package netproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/audit"
)

func TestServerSentEvents(t *testing.T) {
	pn := newPen(t, someRules)
	next := make(chan string)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for ev := range next {
			if ev == "" {
				return
			}
			fmt.Fprintf(w, "data: %s\n\n", ev)
			w.(http.Flusher).Flush()
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		for _, typ := range []string{"text/event-stream", "application/x-ndjson"} {
			// The headers come before any event, each event before the next is made.
			resp, err := pn.client(proto).Get("https://api.test/?type=" + typ)
			if err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(resp.Body)
			for i := range 3 {
				next <- fmt.Sprint(i)
				if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("%s %s: %q %v", proto, typ, line, err)
				}
				r.ReadString('\n')
			}
			next <- ""
			if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
				t.Errorf("%q %v", rest, err)
			}
			resp.Body.Close()
		}
	}
}

// A body with a length that comes late, and in pieces, is not held back either.
func TestSlowBodyWithLength(t *testing.T) {
	pn := newPen(t, someRules)
	next := make(chan struct{})
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.(http.Flusher).Flush()
		for range 2 {
			<-next
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		resp, err := pn.client(proto).Get("https://api.test/")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			next <- struct{}{}
			if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		resp.Body.Close()
	}
}

func TestWebSocket(t *testing.T) {
	pn := newPen(t, someRules)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"p1"}, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return
		}
		c.SetReadLimit(1 << 22)
		for {
			typ, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if string(b) == "bye" {
				c.Close(websocket.StatusGoingAway, "gone")
				return
			}
			c.Write(r.Context(), typ, b)
		}
	})
	pn.origin("api.test:443", echo)
	pn.origin("web.test:80", echo)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, u := range []string{"wss://api.test/", "ws://web.test/"} {
		c, resp, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: pn.client("h1"), Subprotocols: []string{"p1"}, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != "p1" || resp.Header.Get("Sec-Websocket-Extensions") == "" {
			t.Errorf("handshake: %v", resp.Header)
		}
		c.SetReadLimit(1 << 22)
		for _, n := range []int{1, 1000, 1 << 20} {
			b := make([]byte, n)
			rand.Read(b)
			if err := c.Write(ctx, websocket.MessageBinary, b); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes of %d: %v", len(got), n, err)
			}
		}
		c.Write(ctx, websocket.MessageText, []byte("bye"))
		if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("close: %v", err)
		}
		c.CloseNow()
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.BytesUp > 1<<20 && e.BytesDown > 1<<20 })
	_, resp, err := websocket.Dial(ctx, "wss://evil.test/", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err == nil || resp.StatusCode != 403 {
		t.Errorf("denied: %v", err)
	}
	_, resp, err = websocket.Dial(ctx, "wss://api.test/no", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err == nil || resp.StatusCode != http.StatusTeapot {
		t.Errorf("refused by the origin: %v", err)
	}
}

func TestTrailers(t *testing.T) {
	pn := newPen(t, someRules)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Write([]byte("body"))
		w.Header().Set("X-Sum", fmt.Sprintf("%d %s", len(b), r.Trailer.Get("X-Up")))
		w.Header().Set(http.TrailerPrefix+"X-Late", r.Proto)
	})
	pn.origin("api.test:443", h)
	pn.origin("paths.test:443", h, "h2") // speaks nothing but HTTP/2
	for _, c := range []struct{ proto, url, upstream string }{
		{"h1", "https://api.test/", "HTTP/1.1"}, {"h2", "https://api.test/", "HTTP/2.0"}, {"h1", "https://paths.test/open/x", "HTTP/2.0"},
	} {
		method, body := "POST", io.Reader(strings.NewReader("12345"))
		if strings.Contains(c.url, "paths") {
			method, body = "GET", nil
		}
		req, _ := http.NewRequest(method, c.url, body)
		if body != nil {
			req.ContentLength = -1
			req.Trailer = http.Header{"X-Up": {"up"}}
		}
		resp, err := pn.client(c.proto).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := "5 up"
		if body == nil {
			want = "0"
		}
		if err != nil || string(b) != "body" || resp.Trailer.Get("X-Sum") != want || resp.Trailer.Get("X-Late") != c.upstream {
			t.Errorf("%+v: %s %q %v %v", c, resp.Status, b, resp.Trailer, err)
		}
	}
}

func TestContinueAndEarlyHints(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if r.URL.Path == "/hint" {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}))
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		cl.Transport.(*http.Transport).ExpectContinueTimeout = 20 * time.Second
		var hints, cont int // the trace is called before Do returns
		trace := &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == 103 && h.Get("Link") != "" {
					hints++
				}
				return nil
			},
			Got100Continue: func() { cont++ },
		}
		for _, path := range []string{"/take", "/refuse", "/hint"} {
			req, _ := http.NewRequest("POST", "https://api.test"+path, bytes.NewReader(make([]byte, 100)))
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
			if path != "/hint" {
				req.Header.Set("Expect", "100-continue")
			}
			start := time.Now()
			resp, err := cl.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if path == "/take" && (string(b) != "100" || cont != 1) || path == "/hint" && (string(b) != "100" || hints != 1) {
				t.Errorf("%s: %s %q, %d hints, %d continue", proto, resp.Status, b, hints, cont)
			}
			if path == "/refuse" && (resp.StatusCode != 413 || proto == "h1" && cont != 1) {
				t.Errorf("%s: %s, %d continue", proto, resp.Status, cont)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%s %s took %s", proto, path, d)
			}
		}
	}
}

func TestBigUpload(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x %d", h.Sum(nil), r.ContentLength)
	}))
	data := make([]byte, 20<<20)
	rand.Read(data)
	for _, proto := range []string{"h1", "h2"} {
		for _, length := range []int64{int64(len(data)), -1} {
			req, _ := http.NewRequest("PUT", "https://api.test/", io.NopCloser(bytes.NewReader(data)))
			req.ContentLength = length
			resp, err := pn.client(proto).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("%x %d", sha256.Sum256(data), length); string(b) != want {
				t.Errorf("%s %d: %s, want %s", proto, length, b, want)
			}
		}
	}
}

// A client that goes away ends the upstream's request; one that breaks off ends the client's.
func TestDisconnect(t *testing.T) {
	pn := newPen(t, someRules)
	started, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/break" {
			w.Write([]byte("part"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		started <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	for _, proto := range []string{"h1", "h2"} {
		for _, path := range []string{"/wait", "/stream"} {
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://api.test"+path, nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if resp, err := pn.client(proto).Do(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-started
			cancel()
			<-done
			<-gone
		}
		resp, err := pn.client(proto).Get("https://api.test/break")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: a broken response ended well: %q", proto, b)
		}
		resp.Body.Close()
	}
}

func TestUpstreamFails(t *testing.T) {
	pn := newPen(t, someRules)
	cl := pn.client("h1")
	resp, body := get(t, cl, "https://api.test/")
	if resp.StatusCode != 502 || !strings.Contains(body, "connection refused") || resp.Header.Get(VerdictHeader) != "error" {
		t.Errorf("%s %q", resp.Status, body)
	}
	// A certificate of somebody else.
	other := newPen(t, someRules)
	s := other.origin("api.test:443", http.HandlerFunc(hello))
	pn.place("api.test:443", s.Listener.Addr().String())
	resp, body = get(t, cl, "https://api.test/")
	if resp.StatusCode != 502 || !strings.Contains(body, "ca:") {
		t.Errorf("%s %q", resp.Status, body)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "upstream-tls" && e.Error != "" })
}
