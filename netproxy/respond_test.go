package netproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// hookAt has the proxy ask one hook at the points.
func hookAt(f hookFunc, on ...hooks.Point) func(*Config) {
	return func(cfg *Config) {
		cfg.Hooks = []chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: f, On: on}}
	}
}

// TestResponseHook: a hook is asked with the header of the answer, and what it does
// not want the pen gets nothing of.
func TestResponseHook(t *testing.T) {
	for name, c := range map[string]struct {
		d           hooks.Decision
		err         error
		status      int
		body, trace string
	}{
		"next":  {hooks.Decision{Action: hooks.Next}, nil, 201, "secret", "next"},
		"deny":  {hooks.Decision{Reason: "not this"}, nil, 403, "the answer was withheld: denied by hook test: not this", "deny"},
		"error": {hooks.Decision{Action: hooks.Next}, errors.New("boom"), 403, "hook test failed, which denies: boom", "failed"},
		"reply": {hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 418, Body: []byte("a teapot")}}, nil, 418, "a teapot", "reply"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				pn := newPen(t, someRules, hookAt(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
					if p := r.Response; r.Point != hooks.PointResponse || r.Path != "/x" || p == nil || p.Status != 201 || p.Header.Get("X-Secret") != "1" || p.Header.Get("Alt-Svc") != "" || p.Size != 6 {
						t.Errorf("asked %+v %+v", r, p)
					}
					return c.d, c.err
				}, hooks.PointResponse))
				closed := make(chan error, 1)
				pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header()["X-Secret"], w.Header()["Alt-Svc"] = []string{"1"}, []string{"h3=x"}
					w.Header().Set("Content-Length", "6")
					w.WriteHeader(201)
					w.(http.Flusher).Flush()
					if c.status != 201 {
						<-r.Context().Done() // the proxy has let go of it
					}
					io.WriteString(w, "secret")
					closed <- r.Context().Err()
				}))
				resp, body := get(t, pn.client(proto), "https://api.test/x")
				if resp.StatusCode != c.status || !strings.Contains(body, c.body) || (resp.Header.Get("X-Secret") != "") != (c.status == 201) {
					t.Errorf("%s: %s %v %q", proto, resp.Status, resp.Header, body)
				}
				<-closed
				o := wait(t, pn.records, func(*audit.FlowOpen) bool { return true })
				if o.Verdict != hooks.Allow || len(o.Hooks) != 0 {
					t.Errorf("%s: recorded %+v", proto, o)
				}
				cl := wait(t, pn.records, func(*audit.FlowClose) bool { return true })
				if len(cl.Hooks) != 1 || cl.Hooks[0].Decision != c.trace || cl.Hooks[0].Point != hooks.PointResponse || (cl.Class == "hook") != (c.status != 201) || cl.Status != c.status {
					t.Errorf("%s: closed as %+v", proto, cl)
				}
			}
		})
	}
}

// TestResponseHookNotAsked: nobody is asked about an answer that is not the
// upstream's.
func TestResponseHookNotAsked(t *testing.T) {
	pn := newPen(t, someRules, func(cfg *Config) {
		cfg.Hooks = []chain.Entry{
			{Name: "late", On: []hooks.Point{hooks.PointResponse}, Hook: hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
				t.Errorf("asked about %s", r.Target)
				return hooks.Decision{Action: hooks.Next}, nil
			})},
			{Name: "early", Hook: hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
				if r.Path == "/reply" {
					return hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}}, nil
				}
				return hooks.Decision{}, nil
			})},
		}
	})
	pn.all()
	for u, want := range map[string]int{"https://api.test/": 403, "https://api.test/reply": 200, "https://evil.test/": 403} {
		if resp, _ := get(t, pn.client("h1"), u); resp.StatusCode != want {
			t.Errorf("%s: %s", u, resp.Status)
		}
	}
}

// TestResponseHookBodiless: the header is all that HEAD, 204 and 304 have, and what
// is sent before the final header is nobody's to ask about: it is dropped.
func TestResponseHookBodiless(t *testing.T) {
	for _, deny := range []bool{false, true} {
		pn := newPen(t, someRules, hookAt(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
			if deny {
				return hooks.Decision{}, nil
			}
			return hooks.Decision{Action: hooks.Next}, nil
		}, hooks.PointResponse))
		pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Hint", "1")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("X-Hint")
			switch r.URL.Path {
			case "/204":
				w.WriteHeader(204)
			case "/304":
				w.WriteHeader(304)
			default:
				w.Header().Set("Content-Length", "7")
			}
		}))
		for _, proto := range []string{"h1", "h2"} {
			for path, want := range map[string]int{"/204": 204, "/304": 304, "/": 200} {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
					t.Errorf("%s: got %d", path, code)
					return nil
				}})
				r, err := http.NewRequestWithContext(ctx, map[bool]string{true: "HEAD", false: "GET"}[path == "/"], "https://api.test"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := pn.client(proto).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if deny {
					want = 403
				}
				if resp.StatusCode != want || want == 200 && resp.ContentLength != 7 {
					t.Errorf("%s %s: %s, length %d", proto, path, resp.Status, resp.ContentLength)
				}
			}
		}
	}
}

// TestResponseHookGRPC: a gRPC client is told by its status.
func TestResponseHookGRPC(t *testing.T) {
	pn := newPen(t, someRules, hookAt(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		if strings.HasSuffix(r.Path, "/UnaryCall") {
			return hooks.Decision{Reason: "no calls"}, nil
		}
		return hooks.Decision{Action: hooks.Next}, nil
	}, hooks.PointResponse))
	pn.grpcServer("api.test", "api.test:443", true)
	c := pn.grpcClient("api.test:443", true)
	_, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{})
	if s, _ := status.FromError(err); s.Code() != codes.PermissionDenied || !strings.Contains(s.Message(), "no calls") {
		t.Error(err)
	}
	s, err := c.StreamingInputCall(t.Context())
	if err == nil {
		_, err = s.CloseAndRecv()
	}
	if err != nil {
		t.Error(err)
	}
}

// TestResponseHookStreams: an event stream and a WebSocket begin when the hook has
// nothing against them, or not at all.
func TestResponseHookStreams(t *testing.T) {
	pn := newPen(t, someRules, hookAt(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		if strings.HasPrefix(r.Path, "/no") {
			return hooks.Decision{Reason: fmt.Sprint("status ", r.Response.Status)}, nil
		}
		return hooks.Decision{Action: hooks.Next}, nil
	}, hooks.PointResponse))
	next := map[string]chan struct{}{"/h1": make(chan struct{}), "/h2": make(chan struct{})}
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ws") {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			c.Read(r.Context()) //nolint:errcheck // it ends
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for {
			select {
			case <-next[r.URL.Path]:
				fmt.Fprint(w, "data: x\n\n")
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		resp, err := cl.Get("https://api.test/" + proto)
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(resp.Body)
		for range 3 {
			next["/"+proto] <- struct{}{}
			if line, err := b.ReadString('\n'); err != nil || line != "data: x\n" {
				t.Fatalf("%s: %q %v", proto, line, err)
			}
			b.ReadString('\n') //nolint:errcheck // the empty line
		}
		resp.Body.Close()
		if resp, body := get(t, cl, "https://api.test/no/sse"); resp.StatusCode != 403 || !strings.Contains(body, "status 200") {
			t.Errorf("%s: %s %s", proto, resp.Status, body)
		}
	}
	c, _, err := websocket.Dial(t.Context(), "wss://api.test/ws", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err != nil {
		t.Fatal(err)
	}
	c.CloseNow()
	_, resp, err := websocket.Dial(t.Context(), "wss://api.test/no/ws", &websocket.DialOptions{HTTPClient: pn.client("h1")})
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Fatalf("%v %v", resp, err)
	}
	cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return strings.Contains(cl.Error, "status 101") })
	if cl.Class != "hook" || cl.Status != 403 {
		t.Errorf("%+v", cl)
	}
}
