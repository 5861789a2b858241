package extauthz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // a server that may compress
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/protobuf"
)

// transport speaks HTTP/2 only, as the proxy's does.
func transport(roots *x509.CertPool) *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(roots == nil)
	return t
}

// service is a real server of gRPC.
type service struct {
	auth.UnimplementedAuthorizationServer
	check func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error)
}

func (s *service) Check(ctx context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	return s.check(ctx, r)
}

// listen starts one and returns where it is.
func listen(t testing.TB, check func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error), o ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(o...)
	auth.RegisterAuthorizationServer(s, &service{check: check})
	go s.Serve(l) //nolint:errcheck // it is stopped
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// serve starts one and returns a hook that asks it.
func serve(t testing.TB, check func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error)) hooks.Hook {
	t.Helper()
	rt := transport(nil)
	t.Cleanup(rt.CloseIdleConnections)
	h, err := New("h", "http://"+listen(t, check), rt)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// answers has a chain ask a service that always answers the same.
func answers(t *testing.T, a *auth.CheckResponse, err error) hooks.Decision {
	t.Helper()
	return ask(t, serve(t, func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) { return a, err }), 10*time.Second)
}

func ask(t *testing.T, h hooks.Hook, timeout time.Duration) hooks.Decision {
	t.Helper()
	c, err := chain.New([]chain.Entry{{Name: "h", Hook: h, Timeout: timeout}})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := c.Request(t.Context(), hookstest.Request())
	return d
}

func outcome(code codes.Code, text string) *rpc.Status {
	return &rpc.Status{Code: int32(code), Message: text}
}

func header(k, v string) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: k, Value: v}}
}

// TestQuestion is what Envoy's own types read of it.
func TestQuestion(t *testing.T) {
	var got *auth.CheckRequest
	h := serve(t, func(_ context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
		got = r
		return &auth.CheckResponse{Status: outcome(codes.OK, "")}, nil
	})
	if d := ask(t, h, 10*time.Second); d.Action != hooks.Next {
		t.Fatal(d)
	}
	if len(got.ProtoReflect().GetUnknown()) > 0 {
		t.Error("unknown fields")
	}
	web, ctx := got.GetAttributes().GetRequest().GetHttp(), got.GetAttributes()
	want := &auth.AttributeContext_HttpRequest{Id: "s-7", Method: "POST", Path: `/x?a="b"`, Host: "a.example", Scheme: "https", Size: 5,
		Headers: map[string]string{"x-a": "b,c", ":method": "POST", ":path": `/x?a="b"`, ":scheme": "https", ":authority": "a.example"}}
	if !proto.Equal(web, want) {
		t.Errorf("%v, not %v", web, want)
	}
	if a := ctx.GetDestination().GetAddress().GetSocketAddress(); a.GetAddress() != "a.example" || a.GetPortValue() != 443 {
		t.Errorf("to %v", a)
	}
	if m := ctx.GetContextExtensions(); m["penstock.hook"] != "h" || m["penstock.process.exe"] != "/bin/?" || m["penstock.process.pid"] != "9" || m["penstock.session"] != "s" {
		t.Errorf("context %v", m)
	}
	// Another port, no size, header lines in two spellings, cookies.
	r := hookstest.Request()
	r.Target.Port, r.Size, r.Process, r.Query = 8443, -1, nil, ""
	r.Header = http.Header{"x-b": {"2"}, "X-B": {"1"}, "Cookie": {"a=1", "b=2"}}
	if _, err := h.Decide(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if web = got.GetAttributes().GetRequest().GetHttp(); web.GetHost() != "a.example:8443" || web.GetSize() != -1 || web.GetHeaders()["x-b"] != "1,2" || web.GetHeaders()["cookie"] != "a=1; b=2" || web.GetPath() != "/x" {
		t.Errorf("%v", web)
	}
	r.Query = "\xff"
	if d, err := h.Decide(t.Context(), r); !errors.Is(err, errText) || d.Action != hooks.Deny {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestAnswers of a real server.
func TestAnswers(t *testing.T) {
	denied := func(d *auth.DeniedHttpResponse) *auth.CheckResponse_DeniedResponse {
		return &auth.CheckResponse_DeniedResponse{DeniedResponse: d}
	}
	ok := func(o *auth.OkHttpResponse) *auth.CheckResponse_OkResponse {
		return &auth.CheckResponse_OkResponse{OkResponse: o}
	}
	meta, _ := structpb.NewStruct(map[string]any{"a": "b"})
	for name, c := range map[string]struct {
		a    *auth.CheckResponse
		err  error
		want hooks.Action
		why  string
	}{
		"ok":                        {&auth.CheckResponse{Status: outcome(codes.OK, "fine")}, nil, hooks.Next, ""},
		"ok, with an empty outcome": {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{})}, nil, hooks.Next, ""},
		//lint:ignore SA1019 a service may still send it
		"ok, with metadata":             {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{DynamicMetadata: meta}), DynamicMetadata: meta}, nil, hooks.Next, ""},
		"ok, with a field":              {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{header("x-user", "me")}})}, nil, hooks.Deny, "would change the request"},
		"ok, without a field":           {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{HeadersToRemove: []string{"cookie"}})}, nil, hooks.Deny, "would change the request"},
		"ok, with a field back":         {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{ResponseHeadersToAdd: []*core.HeaderValueOption{header("x-user", "me")}})}, nil, hooks.Deny, "would change the request"},
		"ok, with a parameter":          {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: ok(&auth.OkHttpResponse{QueryParametersToRemove: []string{"a"}})}, nil, hooks.Deny, "would change the request"},
		"ok, but denied":                {&auth.CheckResponse{Status: outcome(codes.OK, ""), HttpResponse: denied(&auth.DeniedHttpResponse{})}, nil, hooks.Deny, "does not go with its status"},
		"denied, but ok":                {&auth.CheckResponse{Status: outcome(codes.PermissionDenied, ""), HttpResponse: ok(&auth.OkHttpResponse{})}, nil, hooks.Deny, "does not go with its status"},
		"nothing":                       {&auth.CheckResponse{}, nil, hooks.Deny, "has no status"},
		"denied":                        {&auth.CheckResponse{Status: outcome(codes.PermissionDenied, "not today")}, nil, hooks.Deny, "denied by hook h: not today"},
		"denied without a word":         {&auth.CheckResponse{Status: outcome(codes.PermissionDenied, "")}, nil, hooks.Deny, "denied by hook h: status 7 of gRPC"},
		"a code that nobody has":        {&auth.CheckResponse{Status: &rpc.Status{Code: -4}}, nil, hooks.Deny, "denied by hook h: status -4 of gRPC"},
		"denied, nothing for the tool":  {&auth.CheckResponse{Status: outcome(codes.PermissionDenied, "no"), HttpResponse: denied(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 403}})}, nil, hooks.Deny, "denied by hook h: no"},
		"a terminal's escape":           {&auth.CheckResponse{Status: outcome(codes.PermissionDenied, "\x1b[2J")}, nil, hooks.Deny, `"\x1b[2J"`},
		"a reply":                       {&auth.CheckResponse{Status: outcome(codes.Unauthenticated, ""), HttpResponse: denied(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 401}, Headers: []*core.HeaderValueOption{header("x-a", "b"), header("Set-Cookie", "c"), header("content-type", "text/plain")}, Body: "hi"})}, nil, hooks.Reply, ""},
		"a reply with a status alone":   {&auth.CheckResponse{Status: outcome(codes.Unauthenticated, ""), HttpResponse: denied(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 401}})}, nil, hooks.Reply, ""},
		"a reply with a bad status":     {&auth.CheckResponse{Status: outcome(codes.Unauthenticated, ""), HttpResponse: denied(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 100}})}, nil, hooks.Deny, "failed"},
		"a reply that is too long":      {&auth.CheckResponse{Status: outcome(codes.Unauthenticated, ""), HttpResponse: denied(&auth.DeniedHttpResponse{Body: strings.Repeat("x", hooks.MaxAnswer+1)})}, nil, hooks.Deny, "more than 65536 bytes"},
		"too much":                      {&auth.CheckResponse{Status: outcome(codes.OK, strings.Repeat("x", MaxAnswer))}, nil, hooks.Deny, "more than 131072 bytes"},
		"an error, which is no message": {nil, status.Error(codes.Unavailable, "gone\x1b fishing"), hooks.Deny, `status 14 of gRPC: gone`},
	} {
		d := answers(t, c.a, c.err)
		if d.Action != c.want || !strings.Contains(d.Reason, c.why) || strings.ContainsRune(d.Reason, 0x1b) {
			t.Errorf("%s: %s: %s; want %s: %s", name, d.Action, d.Reason, c.want, c.why)
		}
		if name == "a reply" && (d.Answer == nil || d.Answer.Status != 401 || string(d.Answer.Body) != "hi" || fmt.Sprint(d.Answer.Header) != "map[Content-Type:[text/plain] X-A:[b]]") {
			t.Errorf("%s: %+v", name, d.Answer)
		}
	}
}

// TestSlow: no answer in time denies, and the service hears of it.
func TestSlow(t *testing.T) {
	heard := make(chan bool, 1)
	h := serve(t, func(ctx context.Context, _ *auth.CheckRequest) (*auth.CheckResponse, error) {
		_, bounded := ctx.Deadline()
		<-ctx.Done()
		heard <- bounded
		return nil, ctx.Err()
	})
	if d := ask(t, h, 50*time.Millisecond); d.Action != hooks.Deny || !strings.Contains(d.Reason, "failed") {
		t.Error(d)
	}
	if !<-heard {
		t.Error("the service knew of no deadline")
	}
}

// TestFlood: each of many at once gets its own answer.
func TestFlood(t *testing.T) {
	h := serve(t, func(_ context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
		return &auth.CheckResponse{Status: outcome(codes.PermissionDenied, r.GetAttributes().GetRequest().GetHttp().GetPath())}, nil
	})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r := hookstest.Request()
			r.Path, r.Query = fmt.Sprint("/", i), ""
			if d, err := h.Decide(t.Context(), r); err != nil || d.Reason != r.Path {
				t.Errorf("%s: %+v, %v", r.Path, d, err)
			}
		})
	}
	wg.Wait()
}

// TestHostile: what is no answer of gRPC is none.
func TestHostile(t *testing.T) {
	yes, err := proto.Marshal(&auth.CheckResponse{Status: outcome(codes.OK, "yes")})
	if err != nil {
		t.Fatal(err)
	}
	framed := func(b []byte) string {
		return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b)))) + string(b)
	}
	end := func(w http.ResponseWriter, code string) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", code) }
	typed := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/grpc") }
	for name, c := range map[string]struct {
		f   func(w http.ResponseWriter, r *http.Request)
		why string
	}{
		"yes, for comparison": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Te") != "trailers" || r.Header.Get("Grpc-Timeout") == "" || r.URL.Path != Method {
				t.Errorf("%+v", r)
			}
			typed(w)
			io.WriteString(w, framed(yes))
			end(w, "0")
		}, ""},
		"another type": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, framed(yes)); end(w, "0") }, "not application/grpc"},
		"a longer type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc-web")
			io.WriteString(w, framed(yes))
			end(w, "0")
		}, "not application/grpc"},
		"another status": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			w.WriteHeader(503)
			io.WriteString(w, framed(yes))
			end(w, "0")
		}, "status 503"},
		"a redirect":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, "status 307"},
		"no end":             {func(w http.ResponseWriter, _ *http.Request) { typed(w); io.WriteString(w, framed(yes)) }, "has no end"},
		"a bad end":          {func(w http.ResponseWriter, _ *http.Request) { typed(w); io.WriteString(w, framed(yes)); end(w, "7") }, "status 7 of gRPC"},
		"an end that is odd": {func(w http.ResponseWriter, _ *http.Request) { typed(w); io.WriteString(w, framed(yes)); end(w, "00") }, "status 00"},
		"two ends": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(yes))
			w.Header()[http.TrailerPrefix+"Grpc-Status"] = []string{"0", "7"}
		}, "failed"},
		"the end first": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			w.Header().Set("Grpc-Status", "0")
			io.WriteString(w, framed(yes))
		}, "status 0"},
		"an end alone": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			w.Header().Set("Grpc-Status", "12")
			w.Header().Set("Grpc-Message", "no%20such%1B")
		}, "status 12 of gRPC: no such"},
		"no message": {func(w http.ResponseWriter, _ *http.Request) { typed(w); w.WriteHeader(200); end(w, "0") }, "no message"},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, "\x01"+framed(yes)[1:])
			end(w, "0")
		}, "compressed"},
		"two messages": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(yes)+framed(yes))
			end(w, "0")
		}, "not one message"},
		"half a message": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(yes)[:7])
			end(w, "0")
		}, "not one message"},
		"a lying length": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, "\x00\xff\xff\xff\xff"+string(yes))
			end(w, "0")
		}, "not one message"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed([]byte("\x1b[2Jnext")))
			end(w, "0")
		}, "no CheckResponse"},
		"an unknown field": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(append(yes, 0x7a, 0)))
			end(w, "0")
		}, "not known"},
		"two statuses": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(append(yes, yes...)))
			end(w, "0")
		}, "no CheckResponse"},
		"a reset": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w)
			io.WriteString(w, framed(yes))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "does not end well"},
		"a reset at once": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "can't be asked"},
		"a flood": {func(w http.ResponseWriter, r *http.Request) {
			typed(w)
			for {
				if _, err := io.WriteString(w, framed(make([]byte, 1<<20))); err != nil {
					return
				}
			}
		}, "more than"},
		"a drip": {func(w http.ResponseWriter, r *http.Request) {
			typed(w)
			for r.Context().Err() == nil {
				io.WriteString(w, "\x00")
				w.(http.Flusher).Flush()
				select {
				case <-time.After(time.Millisecond):
				case <-r.Context().Done():
				}
			}
		}, "failed"},
	} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(c.f))
		s.EnableHTTP2 = true
		s.StartTLS()
		rt := transport(s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
		h, err := New("h", s.URL, rt)
		if err != nil {
			t.Fatal(err)
		}
		d := ask(t, h, 2*time.Second)
		if name == "yes, for comparison" {
			if d.Action != hooks.Next {
				t.Errorf("%s: %+v", name, d)
			}
		} else if d.Action != hooks.Deny || !strings.Contains(d.Reason, "failed") || !strings.Contains(d.Reason, c.why) {
			t.Errorf("%s: %s: %s; want %s", name, d.Action, d.Reason, c.why)
		}
		rt.CloseIdleConnections()
		s.CloseClientConnections()
		s.Close()
	}
}

// TestHTTP1: a server that has no HTTP/2 is not asked.
func TestHTTP1(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer s.Close()
	h, err := New("h", s.URL, transport(s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs))
	if err != nil {
		t.Fatal(err)
	}
	if d := ask(t, h, 10*time.Second); d.Action != hooks.Deny {
		t.Error(d)
	}
}

// TestTLS: who answers is verified, and shown a certificate if it asks.
func TestTLS(t *testing.T) {
	own := httptest.NewUnstartedServer(nil)
	own.StartTLS()
	defer own.Close()
	pair := own.TLS.Certificates[0]
	roots := own.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
	target := "https://" + listen(t, func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
		return &auth.CheckResponse{Status: outcome(codes.OK, "")}, nil
	}, grpc.Creds(creds))
	for name, c := range map[string]struct {
		roots *x509.CertPool
		certs []tls.Certificate
		want  hooks.Action
	}{"all right": {roots, []tls.Certificate{pair}, hooks.Next}, "no certificate": {roots, nil, hooks.Deny}, "another authority": {x509.NewCertPool(), []tls.Certificate{pair}, hooks.Deny}} {
		rt := transport(c.roots)
		rt.TLSClientConfig.Certificates = c.certs
		h, err := New("h", target, rt)
		if err != nil {
			t.Fatal(err)
		}
		if d := ask(t, h, 10*time.Second); d.Action != c.want {
			t.Errorf("%s: %+v", name, d)
		}
		rt.CloseIdleConnections()
	}
}

// ignores says whether a CheckResponse has a part that is not looked into.
func ignores(b []byte) (found bool) {
	protobuf.Read(b, func(v protobuf.Value) error { //nolint:errcheck // it was read before
		found = found || v.Field == 4
		status, _ := v.Bytes()
		return protobuf.Read(status, func(v protobuf.Value) error { found = found || v.Field == 3; return nil }, 3)
	})
	return found
}

// FuzzAnswer: what is taken for a yes is one for Envoy's types, too, and changes nothing.
func FuzzAnswer(f *testing.F) {
	for _, a := range []*auth.CheckResponse{
		{Status: outcome(codes.OK, "")}, {Status: outcome(codes.PermissionDenied, "no")}, {},
		{Status: outcome(codes.OK, ""), HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{HeadersToRemove: []string{"a"}}}},
		{Status: outcome(codes.Unauthenticated, ""), HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 401}, Body: "x", Headers: []*core.HeaderValueOption{header("x-a", "b")}}}},
	} {
		b, err := proto.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := answer(b)
		if err != nil {
			if d.Action != hooks.Deny {
				t.Errorf("%+v with %v", d, err)
			}
			return
		}
		var a auth.CheckResponse
		if err := proto.Unmarshal(b, &a); err != nil {
			if d.Action == hooks.Next && !ignores(b) {
				t.Errorf("a yes, which is none for others: %v", err)
			}
			return
		}
		o := a.GetOkResponse()
		if yes := a.GetStatus() != nil && a.GetStatus().GetCode() == 0; yes != (d.Action == hooks.Next) ||
			len(o.GetHeaders())+len(o.GetHeadersToRemove())+len(o.GetResponseHeadersToAdd())+len(o.GetQueryParametersToSet())+len(o.GetQueryParametersToRemove()) > 0 {
			t.Errorf("%+v of %v", d, &a)
		}
		if d.Action == hooks.Reply && (int(a.GetDeniedResponse().GetStatus().GetCode()) != d.Answer.Status && a.GetDeniedResponse().GetStatus().GetCode() != 0 || a.GetDeniedResponse().GetBody() != string(d.Answer.Body)) {
			t.Errorf("%+v of %v", d.Answer, &a)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := serve(b, func(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
		return &auth.CheckResponse{Status: outcome(codes.OK, "")}, nil
	})
	r := hookstest.Request()
	for b.Loop() {
		if d, err := h.Decide(b.Context(), r); err != nil || d.Action != hooks.Next {
			b.Fatal(d, err)
		}
	}
}
