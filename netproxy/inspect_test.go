package netproxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// bodyHook has the proxy ask one hook about bodies, which denies those with SECRET
// in it.
type bodyHook struct {
	mu    sync.Mutex
	seen  []byte
	asked []hooks.Body
}

func (h *bodyHook) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := *r.Body
	if b.Offset == 0 && b.Seen == 0 {
		h.seen, h.asked = nil, nil
	}
	h.seen = append(h.seen, b.Data[b.Seen:]...)
	b.Data = nil
	h.asked = append(h.asked, b)
	if bytes.Contains(r.Body.Data, []byte("SECRET")) {
		return hooks.Decision{Reason: "it is secret"}, nil
	}
	return hooks.Decision{Action: hooks.Next}, nil
}

// last returns what was seen of the last body, and how often it was asked about.
func (h *bodyHook) last() (seen string, asked []hooks.Body) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen, asked = string(h.seen), h.asked
	h.seen, h.asked = nil, nil
	return seen, asked
}

func (h *bodyHook) on(i hooks.Inspect, on ...hooks.Point) func(*Config) {
	return func(cfg *Config) {
		cfg.Hooks = []chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: h, On: on, Inspect: i, Timeout: 10 * time.Second}}
	}
}

var (
	asWhole  = hooks.Inspect{}
	asStream = hooks.Inspect{Stream: true, Overlap: 5}
)

// TestRequestBodyHook: a body that the hook denies has not left as a whole, and of a
// stream the part and what is behind it has not; what it lets through arrives.
func TestRequestBodyHook(t *testing.T) {
	for _, i := range []hooks.Inspect{asWhole, asStream} {
		for _, proto := range []string{"h1", "h2"} {
			for _, length := range []bool{true, false} {
				h := &bodyHook{}
				pn := newPen(t, someRules, h.on(i, hooks.PointRequestBody))
				type arrival struct {
					body []byte
					err  error
				}
				arrived := make(chan arrival, 2)
				pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					arrived <- arrival{b, err}
					fmt.Fprint(w, len(b), r.Trailer.Get("X-Sum"))
				}))
				send := func(body string) (*http.Response, string) {
					r, err := http.NewRequestWithContext(t.Context(), "POST", "https://api.test/", io.NopCloser(strings.NewReader(body)))
					if err != nil {
						t.Fatal(err)
					}
					if r.ContentLength = int64(len(body)); !length {
						r.ContentLength, r.Trailer = -1, http.Header{"X-Sum": {"7"}}
					}
					resp, err := pn.client(proto).Do(r)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					b, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					return resp, string(b)
				}
				what := fmt.Sprintf("%+v %s length %t", i, proto, length)
				good := strings.Repeat("0123456789", 30_000)
				trailer := map[bool]string{false: "7"}[length]
				if resp, b := send(good); resp.StatusCode != 200 || b != fmt.Sprint(len(good), trailer) {
					t.Errorf("%s: %s %q", what, resp.Status, b)
				}
				seen, asked := h.last()
				if end := asked[len(asked)-1]; seen != good || !end.Last || end.Trailer.Get("X-Sum") != trailer || i == asWhole && len(asked) != 1 {
					t.Errorf("%s: seen %d in %d parts, at the end %+v", what, len(seen), len(asked), end)
				}
				<-arrived
				resp, b := send(good + "SECRET" + good)
				if resp.StatusCode != 403 || !strings.Contains(b, "denied by hook test: it is secret") || !strings.Contains(b, "rule: test.yaml:9") {
					t.Errorf("%s: %s %q", what, resp.Status, b)
				}
				cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Class == "hook" })
				o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Flow == cl.Flow })
				if i == asWhole {
					if o.Verdict != hooks.Deny || len(o.Hooks) != 1 || o.Hooks[0].Point != hooks.PointRequestBody || o.Rule != "test.yaml:9" || len(pn.dialed()) != 1 || len(arrived) > 0 {
						t.Errorf("%s: recorded %+v, %d arrived", what, o, len(arrived))
					}
					continue
				}
				if o.Verdict != hooks.Allow || len(cl.Hooks) != 1 || cl.Hooks[0].Decision != "deny" || !strings.Contains(cl.Error, "request_body, after ") {
					t.Errorf("%s: closed as %+v", what, cl)
				}
				if got := <-arrived; bytes.Contains(got.body, []byte("SECRET")) || len(got.body) > len(good) || got.err == nil {
					t.Errorf("%s: %d bytes arrived, %v", what, len(got.body), got.err)
				}
			}
		}
	}
}

// TestResponseBodyHook: the same the other way. Before anything of an answer is the
// pen's a deny is a 403, behind that the end of the connection.
func TestResponseBodyHook(t *testing.T) {
	big := strings.Repeat("0123456789", 30_000)
	for _, i := range []hooks.Inspect{asWhole, asStream} {
		for _, proto := range []string{"h1", "h2"} {
			h := &bodyHook{}
			pn := newPen(t, someRules, h.on(i, hooks.PointResponseBody))
			pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := map[string]string{"/": big, "/bad": big + "SECRET" + big}[r.URL.Path]
				if r.URL.RawQuery == "length" {
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				} else {
					w.Header().Set("Trailer", "X-Sum")
				}
				if w.Header().Set("X-A", r.Header.Get("Accept-Encoding")); strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
					w.Header().Set("Content-Encoding", "gzip")
					w.Header().Del("Content-Length")
					z := gzip.NewWriter(w)
					io.WriteString(z, body)
					z.Close()
				} else {
					io.WriteString(w, body)
				}
				w.Header().Set("X-Sum", "7")
			}))
			for _, query := range []string{"", "?length"} {
				for accept, asked := range map[string]string{"": "", "br, zstd": "identity", "br, GZIP;q=0.5": "gzip"} {
					what := fmt.Sprintf("%+v %s %s %q", i, proto, query, accept)
					cl := pn.client(proto)
					cl.Transport.(*http.Transport).DisableCompression = true
					do := func(path string) (*http.Response, string, error) {
						r, err := http.NewRequestWithContext(t.Context(), "GET", "https://api.test"+path+query, nil)
						if err != nil {
							t.Fatal(err)
						}
						if accept != "" {
							r.Header.Set("Accept-Encoding", accept)
						}
						resp, err := cl.Do(r)
						if err != nil {
							t.Fatal(err)
						}
						defer resp.Body.Close()
						var body io.Reader = resp.Body
						if resp.Header.Get("Content-Encoding") == "gzip" {
							if body, err = gzip.NewReader(resp.Body); err != nil {
								return resp, "", err
							}
						}
						b, err := io.ReadAll(body)
						return resp, string(b), err
					}
					resp, b, err := do("/")
					if err != nil || resp.StatusCode != 200 || b != big || resp.Header.Get("X-A") != asked || query == "" && accept != "br, GZIP;q=0.5" && resp.Trailer.Get("X-Sum") != "7" {
						t.Errorf("%s: %s %d %v %v", what, resp.Status, len(b), resp.Header, err)
					}
					if seen, parts := h.last(); seen != big || !parts[len(parts)-1].Last || i == asWhole && len(parts) != 1 {
						t.Errorf("%s: seen %d in %d parts", what, len(seen), len(parts))
					}
					resp, b, err = do("/bad")
					if i == asWhole {
						if err != nil || resp.StatusCode != 403 || !strings.Contains(b, "it is secret") {
							t.Errorf("%s: %s %d %v", what, resp.Status, len(b), err)
						}
					} else if err == nil || strings.Contains(b, "SECRET") || resp.Trailer.Get("X-Sum") != "" {
						t.Errorf("%s: %s %d %v %v", what, resp.Status, len(b), err, resp.Trailer)
					}
				}
			}
			cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Class == "hook" })
			if len(cl.Hooks) != 1 || cl.Hooks[0].Point != hooks.PointResponseBody || cl.Hooks[0].Decision != "deny" || !strings.Contains(cl.Error, "response_body, after ") {
				t.Errorf("%+v %s: closed as %+v", i, proto, cl)
			}
		}
	}
}

// TestBodyHookNoBody: what has no body is not asked about, and arrives as ever.
func TestBodyHookNoBody(t *testing.T) {
	h := &bodyHook{}
	pn := newPen(t, someRules, h.on(asWhole, hooks.PointRequestBody, hooks.PointResponseBody))
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		case "/head":
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Content-Encoding", "br")
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		for path, want := range map[string]int{"/204": 204, "/304": 304, "/head": 200, "/empty": 200} {
			r, err := http.NewRequestWithContext(t.Context(), map[bool]string{true: "HEAD", false: "GET"}[path == "/head"], "https://api.test"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := pn.client(proto).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want || path == "/head" && resp.ContentLength != 7 {
				t.Errorf("%s %s: %s, length %d", proto, path, resp.Status, resp.ContentLength)
			}
			if _, asked := h.last(); len(asked) > 0 {
				t.Errorf("%s %s: asked about %+v", proto, path, asked)
			}
		}
	}
}

// TestBodyHookEvents: each event of a stream arrives before the next one is made,
// and the header before the first.
func TestBodyHookEvents(t *testing.T) {
	h := &bodyHook{}
	pn := newPen(t, someRules, h.on(asStream, hooks.PointResponseBody))
	next := map[string]chan string{"/h1": make(chan string), "/h2": make(chan string)}
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for e := range next[r.URL.Path] {
			fmt.Fprintf(w, "data: %s\n\n", e)
			w.(http.Flusher).Flush()
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		resp, err := pn.client(proto).Get("https://api.test/" + proto)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 50 {
			want := fmt.Sprintf("data: %d\n\n", n)
			next["/"+proto] <- fmt.Sprint(n)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Fatalf("%s: %q %v", proto, got, err)
			}
		}
		next["/"+proto] <- "a SECRET"
		close(next["/"+proto])
		if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
			t.Errorf("%s: %q %v", proto, rest, err)
		}
		resp.Body.Close()
	}
}

// TestBodyHookGRPC: streams of messages pass both ways, and what is denied ends the
// call.
func TestBodyHookGRPC(t *testing.T) {
	h := &bodyHook{}
	pn := newPen(t, someRules, h.on(asStream, hooks.PointRequestBody, hooks.PointResponseBody))
	pn.grpcServer("api.test", "api.test:443", true)
	c := pn.grpcClient("api.test:443", true)
	s, err := c.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		p := &pb.Payload{Body: bytes.Repeat([]byte{'x'}, 1+n*5000)}
		if err := s.Send(&pb.StreamingOutputCallRequest{Payload: p}); err != nil {
			t.Fatal(err)
		}
		if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != len(p.GetBody()) {
			t.Fatal(n, err)
		}
	}
	if err := s.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte("a SECRET")}}); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err == nil {
		t.Errorf("it came back: %v", m)
	}
	_, err = c.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: &pb.Payload{Body: []byte("a SECRET")}})
	if code := status.Code(err); code != codes.PermissionDenied {
		t.Error(err)
	}
}

// TestBodyHookWebSocket: a hook about bodies would not see its messages, so there is
// no handshake.
func TestBodyHookWebSocket(t *testing.T) {
	for _, p := range []hooks.Point{hooks.PointRequestBody, hooks.PointResponseBody} {
		h := &bodyHook{}
		pn := newPen(t, someRules, h.on(asStream, p))
		pn.all()
		_, resp, err := websocket.Dial(t.Context(), "wss://api.test/", &websocket.DialOptions{HTTPClient: pn.client("h1")})
		if err == nil || resp == nil || resp.StatusCode != 403 {
			t.Errorf("%v %v", resp, err)
		}
		o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Verdict == hooks.Deny })
		if o.Rule != "test.yaml:9" || !strings.Contains(o.Reason, "hook test is asked about bodies") || len(pn.dialed()) > 0 {
			t.Errorf("%+v", o)
		}
	}
}

// TestBodyHookSecrets: a hook about bodies sees placeholders, and a placeholder where
// it may not be is what it is without hooks.
func TestBodyHookSecrets(t *testing.T) {
	set, placeholder := newSecrets(t)
	for _, i := range []hooks.Inspect{asWhole, asStream} {
		h := &bodyHook{}
		pn := newPen(t, someRules, h.on(i, hooks.PointRequestBody), func(c *Config) { c.Secrets = set })
		pn.all()
		resp, err := pn.client("h1").Post("https://api.test/", "text/plain", strings.NewReader(strings.Repeat("z", 100)+placeholder))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 403 || strings.Contains(string(b), "sk-real") || i == asWhole && len(pn.dialed()) > 0 {
			t.Errorf("%+v: %s %s, after %v", i, resp.Status, b, pn.dialed())
		}
		wait(t, pn.records, func(v *audit.Violation) bool { return v.Kind == "secret-misuse" })
		wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Class == "secret-misuse" })
	}
}

// TestBodyHookSlow: pens that begin bodies and stop hold no more than the limit, and
// no hook; what goes away gives it back.
func TestBodyHookSlow(t *testing.T) {
	h := &bodyHook{}
	pn := newPen(t, someRules, h.on(asWhole, hooks.PointRequestBody), func(c *Config) { c.Limits.BodyBytes = 100 << 10 })
	pn.all()
	var bodies []*io.PipeWriter
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	denied := make(chan string, 40)
	for range 40 {
		pr, pw := io.Pipe()
		bodies = append(bodies, pw)
		wg.Go(func() {
			r, err := http.NewRequestWithContext(ctx, "POST", "https://api.test/", pr)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := pn.client("h1").Do(r)
			if err != nil {
				return // it was cancelled
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			denied <- resp.Status + string(b)
		})
		wg.Go(func() { pw.Write([]byte("the beginning")) })
	}
	for range 40 - 25 { // of 4 KiB each
		if s := <-denied; !strings.Contains(s, "403") || !strings.Contains(s, "too much of bodies is being kept back") {
			t.Error(s)
		}
	}
	cancel()
	for _, pw := range bodies {
		pw.CloseWithError(errors.New("gone"))
	}
	wg.Wait()
	closed := map[uint64]bool{}
	wait(t, pn.records, func(cl *audit.FlowClose) bool { closed[cl.Flow] = true; return len(closed) == 40 })
	if resp, err := pn.client("h1").Post("https://api.test/", "", strings.NewReader("hello")); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if seen, asked := h.last(); seen != "hello" || len(asked) != 1 {
		t.Errorf("asked about %q", seen)
	}
}
