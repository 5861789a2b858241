package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/penstock/penstock/internal/world"
)

// self puts the test binary, which is also the client of some cases, where the
// pen sees it, and returns its path.
func (p *pen) self() string {
	p.T.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.T.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		p.T.Fatal(err)
	}
	path := filepath.Join(p.Home.Project, "client")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		p.T.Fatal(err)
	}
	p.Home.Own(p.T)
	return path
}

// echoService is a gRPC service without generated code: messages are strings.
var echoService = grpc.ServiceDesc{
	ServiceName: "penstock.test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Unary", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in wrapperspb.StringValue
			if err := dec(&in); err != nil {
				return nil, err
			}
			md, _ := metadata.FromIncomingContext(ctx)
			grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "trailer-of-"+in.Value, "x-echo", strings.Join(md.Get("x-ask"), ",")))
			if in.Value == "fail" {
				return nil, status.Error(codes.FailedPrecondition, "failed as asked")
			}
			return wrapperspb.String("echo " + in.Value), nil
		}},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Down", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			var in wrapperspb.StringValue
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			for i := range 100 {
				if err := s.SendMsg(wrapperspb.String(fmt.Sprintf("%s %d", in.Value, i))); err != nil {
					return err
				}
			}
			s.SetTrailer(metadata.Pairs("x-trailer", "end-of-stream"))
			return nil
		}},
		{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			for {
				var in wrapperspb.StringValue
				if err := s.RecvMsg(&in); errors.Is(err, io.EOF) {
					return status.Error(codes.OutOfRange, "that was all")
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(wrapperspb.String("re: " + in.Value)); err != nil {
					return err
				}
			}
		}},
	},
}

// grpcClient is the client inside the pen: TARGET tls|clear.
func grpcClient(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	creds := credentials.TransportCredentials(insecure.NewCredentials())
	if args[1] == "tls" {
		creds = credentials.NewTLS(&tls.Config{})
	}
	conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	call := func(in string) (string, metadata.MD, error) {
		var out wrapperspb.StringValue
		var trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(ctx, "x-ask", "asked")
		err := conn.Invoke(ctx, "/penstock.test.Echo/Unary", wrapperspb.String(in), &out, grpc.Trailer(&trailer))
		return out.Value, trailer, err
	}
	out, trailer, err := call("hello")
	if err != nil {
		fmt.Println("unary error", status.Code(err))
		return err
	}
	fmt.Println("unary", out, trailer.Get("x-trailer"), trailer.Get("x-echo"))
	_, trailer, err = call("fail")
	fmt.Println("error", status.Code(err), status.Convert(err).Message(), trailer.Get("x-trailer"))

	down, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/penstock.test.Echo/Down")
	if err != nil {
		return err
	}
	if err := errors.Join(down.SendMsg(wrapperspb.String("line")), down.CloseSend()); err != nil {
		return err
	}
	n := 0
	for {
		var m wrapperspb.StringValue
		if err := down.RecvMsg(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		n++
	}
	fmt.Println("down", n, down.Trailer().Get("x-trailer"))

	// Each message is sent only when the answer to the one before has come: a
	// proxy that holds anything back would hang here.
	chat, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/penstock.test.Echo/Chat")
	if err != nil {
		return err
	}
	for i := range 20 {
		var m wrapperspb.StringValue
		if err := chat.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			return err
		}
		if err := chat.RecvMsg(&m); err != nil {
			return err
		}
		if m.Value != fmt.Sprintf("re: %d", i) {
			return fmt.Errorf("chat: %q", m.Value)
		}
	}
	if err := chat.CloseSend(); err != nil {
		return err
	}
	err = chat.RecvMsg(new(wrapperspb.StringValue))
	fmt.Println("chat ended", status.Code(err), status.Convert(err).Message())
	return nil
}

func TestGRPC(t *testing.T) {
	for _, mode := range []string{"tls", "clear"} {
		t.Run(mode, func(t *testing.T) {
			w := world.New(t)
			serve := func(name string, port uint16) *world.Origin {
				var opts []grpc.ServerOption
				if mode == "tls" {
					cert := w.Certificate(name)
					opts = append(opts, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
				}
				srv := grpc.NewServer(opts...)
				srv.RegisterService(&echoService, new(any))
				ln, o := w.Listen(name, port)
				w.Name(name, o.Addr)
				go srv.Serve(ln)
				t.Cleanup(srv.Stop)
				return o
			}
			port, ports := uint16(443), ""
			if mode == "clear" {
				port, ports = 8080, ", ports: [8080]"
			}
			serve("grpc.example.com", port)
			evil := serve("evil-grpc.example.com", port)
			p := newPen(t, w)
			p.Allow = []string{"{host: grpc.example.com" + ports + "}"}
			client := p.self()
			r := p.Run(client, "client:grpc", fmt.Sprintf("grpc.example.com:%d", port), mode)
			world.WantOutput(t, r, 0, "unary echo hello [trailer-of-hello] [asked]", "error FailedPrecondition failed as asked [trailer-of-fail]",
				"down 100 [end-of-stream]", "chat ended OutOfRange that was all")
			p.WantAllowed("grpc.example.com")
			r = p.Run(client, "client:grpc", fmt.Sprintf("evil-grpc.example.com:%d", port), mode)
			world.WantOutput(t, r, 1, "unary error PermissionDenied")
			p.WantDenied(evil)
		})
	}
}

// wsClient is the WebSocket client inside the pen: URL.
func wsClient(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, args[0], nil)
	if err != nil {
		if resp != nil {
			fmt.Println("handshake status", resp.StatusCode)
		}
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for i, size := range []int{5, 70000, 300000} {
		msg := strings.Repeat(string(rune('a'+i)), size)
		if err := c.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
			return err
		}
		_, got, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if string(got) != msg {
			return fmt.Errorf("echo of %d bytes differs: %d bytes", size, len(got))
		}
	}
	fmt.Println("echoed")
	return c.Close(websocket.StatusNormalClosure, "bye")
}

// wsEcho is the server of wsClient.
func wsEcho() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, msg) != nil {
				return
			}
		}
	})
}

func TestWebSocket(t *testing.T) {
	w, echo := world.New(t), wsEcho()
	w.HTTPS("ws.example.com", echo)
	w.HTTP("ws-clear.example.com", echo)
	evil := w.HTTPS("evil-ws.example.com", echo)
	p := newPen(t, w)
	p.Allow = []string{"{host: ws.example.com}", "{host: ws-clear.example.com}"}
	client := p.self()
	world.WantOutput(t, p.Run(client, "client:ws", "wss://ws.example.com/chat"), 0, "echoed")
	p.WantAllowed("ws.example.com")
	world.WantOutput(t, p.Run(client, "client:ws", "ws://ws-clear.example.com/chat"), 0, "echoed")
	p.WantAllowed("ws-clear.example.com")
	world.WantOutput(t, p.Run(client, "client:ws", "wss://evil-ws.example.com/"), 1, "handshake status 403")
	p.WantDenied(evil)
}
