package service

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/hookpb"
	"github.com/penstock/penstock/hooks/hookstest"
)

// conns are those of a server, so that it can crash.
type conns struct {
	net.Listener
	mu  sync.Mutex
	all []net.Conn
}

func (l *conns) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.all = append(l.all, c)
	}
	return c, err
}

func (l *conns) crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.all {
		c.Close()
	}
}

// bytesOnly has messages as the bytes that they are.
type bytesOnly struct{}

func (bytesOnly) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (bytesOnly) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte{}, b...); return nil }
func (bytesOnly) Name() string                    { return "proto" }

// serve starts a server and returns a hook that asks it. Stopping it waits for no call.
func serve(t testing.TB, register func(*grpc.Server, *conns), o ...grpc.ServerOption) hooks.Hook {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, c := grpc.NewServer(o...), &conns{Listener: l}
	register(s, c)
	go s.Serve(c) //nolint:errcheck // it is stopped
	t.Cleanup(s.Stop)
	rt := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	rt.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(rt.CloseIdleConnections)
	h, err := New("h", "http://"+l.Addr().String(), rt)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// behave is a service that answers with bytes, whatever they are.
func behave(t *testing.T, b hookstest.Behaviour) hooks.Hook {
	handle := func(l *conns) grpc.StreamHandler {
		return func(_ any, stream grpc.ServerStream) error {
			var raw []byte
			if err := stream.RecvMsg(&raw); err != nil {
				return err
			}
			q := new(hookpb.Question)
			if m, ok := grpc.MethodFromServerStream(stream); !ok || m != Method || proto.Unmarshal(raw, q) != nil || len(q.ProtoReflect().GetUnknown()) > 0 || q.GetVersion() != 1 || q.GetHook() != "h" {
				t.Errorf("asked %s: %v", m, q)
			}
			switch {
			case b.Crash:
				stream.SendHeader(metadata.MD{}) //nolint:errcheck // it crashes
				l.crash()
			case b.Hang:
				<-stream.Context().Done()
			case b.Drip:
				for stream.Context().Err() == nil {
					if err := stream.SendMsg(new([]byte)); err != nil {
						return err
					}
				}
			default:
				out := hookstest.Protobuf(b.Answer(hookstest.JSON(q)))
				return stream.SendMsg(&out)
			}
			return nil
		}
	}
	return serve(t, func(s *grpc.Server, l *conns) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "penstock.hook.v1.Hook", Streams: []grpc.StreamDesc{{StreamName: "Decide", Handler: handle(l), ServerStreams: true}}}, nil)
	}, grpc.ForceServerCodec(bytesOnly{}))
}

func TestConformance(t *testing.T) { hookstest.Run(t, behave) }

// decider is a service as others write one.
type decider struct {
	hookpb.UnimplementedHookServer
	decide func(context.Context, *hookpb.Question) (*hookpb.Decision, error)
}

func (d *decider) Decide(ctx context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
	return d.decide(ctx, q)
}

func typed(t testing.TB, decide func(context.Context, *hookpb.Question) (*hookpb.Decision, error)) hooks.Hook {
	return serve(t, func(s *grpc.Server, _ *conns) { hookpb.RegisterHookServer(s, &decider{decide: decide}) })
}

// TestTyped: what a service with generated types says, in each of its fields, is what is
// decided; what it leaves out, and an error, denies.
func TestTyped(t *testing.T) {
	values := func(s ...string) *hookpb.Values { return &hookpb.Values{Values: s} }
	for name, c := range map[string]struct {
		point hooks.Point
		d     *hookpb.Decision
		err   error
		want  hooks.Decision
		why   string // in the reason of a deny
	}{
		"nothing":        {d: &hookpb.Decision{}, why: "a decision that is not known"},
		"no action":      {d: &hookpb.Decision{Reason: "yes"}, why: "a decision that is not known"},
		"unheard of":     {d: &hookpb.Decision{Decision: 6}, why: "a decision that is not known"},
		"negative":       {d: &hookpb.Decision{Decision: -1}, why: "no decision in protobuf"},
		"next":           {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_NEXT}, want: hooks.Decision{Action: hooks.Next}},
		"deny":           {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_DENY, Reason: "not today"}, why: "denied by hook h: not today"},
		"ask":            {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_ASK, Reason: "so?"}, want: hooks.Decision{Action: hooks.Ask, Reason: "hook h asks: so?"}},
		"route":          {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_ROUTE, Via: "corp"}, want: hooks.Decision{Action: hooks.Next, Via: "corp"}},
		"reply":          {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_REPLY, Reply: &hookpb.Reply{Status: 418, Headers: map[string]*hookpb.Values{"x-a": values("b", "c")}, Body: []byte("hi")}}, want: hooks.Decision{Action: hooks.Reply, Reason: "answered by hook h", Answer: &hooks.Answer{Status: 418, Header: http.Header{"X-A": {"b", "c"}}, Body: []byte("hi")}}},
		"change":         {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_NEXT, Set: map[string]string{"x-new": "b"}, Remove: []string{"x-a"}}, want: hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-New": "b"}, Remove: []string{"X-A"}}}},
		"an error":       {err: status.Error(codes.PermissionDenied, "who are you?"), why: "status 7 of gRPC: who are you?"},
		"a deadline":     {err: status.Error(codes.DeadlineExceeded, "too slow"), why: "in time"},
		"a body, at all": {d: &hookpb.Decision{Decision: hookpb.Action_ACTION_NEXT, Body: []byte{}}, why: "where there is none"},
	} {
		t.Run(name, func(t *testing.T) {
			h := typed(t, func(ctx context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("it knew of no deadline")
				}
				if c.d != nil {
					c.d.Version, c.d.Id = q.GetVersion(), q.GetId()
				}
				return c.d, c.err
			})
			d := asked(t, h, hookstest.At(c.point))
			if d.Action != c.want.Action || !strings.Contains(d.Reason, c.why) || c.why == "" && d.Reason != c.want.Reason || d.Via != c.want.Via || (d.Answer == nil) != (c.want.Answer == nil) || (d.Change == nil) != (c.want.Change == nil) {
				t.Errorf("%+v, want %+v %s", d, c.want, c.why)
			}
			if a := d.Answer; a != nil && (a.Status != 418 || string(a.Body) != "hi" || len(a.Header["X-A"]) != 2) {
				t.Errorf("it replies %+v", a)
			}
			if m := d.Change; m != nil && (m.Set["X-New"] != "b" || len(m.Remove) != 1 || m.Remove[0] != "X-A") {
				t.Errorf("it changes %+v", m)
			}
		})
	}
}

func asked(t *testing.T, h hooks.Hook, r *hooks.Request) hooks.Decision {
	t.Helper()
	c, err := chain.New([]chain.Entry{{Name: "h", Hook: h, On: []hooks.Point{r.Point}, Timeout: 30 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := c.Request(t.Context(), r)
	return d
}

// TestAnotherService: a server without the service denies, and is told which it is asked.
func TestAnotherService(t *testing.T) {
	h := serve(t, func(*grpc.Server, *conns) {})
	if d := asked(t, h, hookstest.Request()); d.Action != hooks.Deny || !strings.Contains(d.Reason, "status 12 of gRPC: unknown service penstock.hook.v1.Hook") {
		t.Errorf("%+v", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	h := typed(b, func(_ context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
		return &hookpb.Decision{Version: 1, Id: q.GetId(), Decision: hookpb.Action_ACTION_NEXT}, nil
	})
	r := hookstest.Request()
	for b.Loop() {
		if d, err := h.Decide(b.Context(), r); err != nil || d.Action != hooks.Next {
			b.Fatal(d, err)
		}
	}
}
