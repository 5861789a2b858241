package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/penstock/penstock/internal/world"
)

// authorization is a service as Envoy asks one, by grpc-go and Envoy's own types.
type authorization struct {
	auth.UnimplementedAuthorizationServer
	mu    sync.Mutex
	asked []string
}

func (a *authorization) Check(_ context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	web := r.GetAttributes().GetRequest().GetHttp()
	a.mu.Lock()
	a.asked = append(a.asked, web.GetMethod()+" "+web.GetHost()+web.GetPath())
	a.mu.Unlock()
	denied := &rpc.Status{Code: int32(codes.PermissionDenied), Message: "not by this service"}
	switch web.GetPath() {
	case "/no":
		return &auth.CheckResponse{Status: denied}, nil
	case "/login":
		return &auth.CheckResponse{Status: denied, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &kind.HttpStatus{Code: kind.StatusCode_Unauthorized}, Body: "who are you?"}}}, nil
	case "/changed":
		return &auth.CheckResponse{Status: &rpc.Status{}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: []*core.HeaderValueOption{{Header: &core.HeaderValue{Key: "x-user", Value: "root"}}}}}}, nil
	}
	return &auth.CheckResponse{Status: &rpc.Status{}}, nil
}

func (a *authorization) serve(t *testing.T, l net.Listener, o ...grpc.ServerOption) {
	s := grpc.NewServer(o...)
	auth.RegisterAuthorizationServer(s, a)
	go s.Serve(l) //nolint:errcheck // it is stopped
	t.Cleanup(s.Stop)
}

// A service of Envoy's kind decides about the requests of curl in a real pen: in clear
// on the host's loopback, and over TLS at a private address that the hook names. One
// whose name leads to a private address that it does not name is not asked, and the pen
// reaches none of them.
func TestHookService(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.URL.Path) }))
			p.Allow = []string{"{host: api.example.com}"}

			near, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := w.PrivateAddress()
			w.Name("authz.corp.example.com", addr)
			far := w.ListenAt(addr, 9191)
			tlsOf := grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{w.Certificate("authz.corp.example.com")}}))
			plain, private := new(authorization), new(authorization)
			plain.serve(t, near)
			private.serve(t, far, tlsOf)

			script := `for x in yes no login changed yes; do curl -sS https://api.example.com/$x; echo; done; curl -sS -o /dev/null http://` + near.Addr().String() + `/ && echo reached; true`
			for url, service := range map[string]*authorization{
				`"http://` + near.Addr().String() + `"`:                                       plain,
				`"https://authz.corp.example.com:9191", addresses: ["` + addr.String() + `"]`: private,
			} {
				p.Hooks = []string{"{name: authz, on: [request], grpc: " + url + ", timeout: 20s}"}
				r := p.Sh(script)
				for _, want := range []string{"denied by hook authz: not by this service", "who are you?", "hook authz failed, which denies: its answer would change the request"} {
					if !strings.Contains(r.Stdout, want) {
						t.Errorf("%s: no %q in %s", url, want, r)
					}
				}
				if strings.Count(r.Stdout, "api has /yes") != 2 || strings.Count(r.Stdout, "api has ") != 2 || strings.Contains(r.Stdout, "reached") {
					t.Errorf("%s: %s", url, r)
				}
				service.mu.Lock()
				got := strings.Join(service.asked, ", ")
				service.mu.Unlock()
				if want := "GET api.example.com/yes, GET api.example.com/no, GET api.example.com/login, GET api.example.com/changed, GET api.example.com/yes"; got != want {
					t.Errorf("%s: asked %s", url, got)
				}
			}

			private.asked = nil
			p.Hooks = []string{`{name: authz, on: [request], grpc: "https://authz.corp.example.com:9191", timeout: 5s}`}
			if r := p.Sh("curl -sS https://api.example.com/yes"); !strings.Contains(r.Stdout, "hook authz failed, which denies: it can't be asked") || strings.Contains(r.Stdout, "api has") || len(private.asked) > 0 {
				t.Errorf("at a private address that it does not name: %s", r)
			}
		})
	}
}
