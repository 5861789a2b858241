package netproxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// testService answers gRPC's own interoperability service.
type testService struct {
	pb.UnimplementedTestServiceServer
}

func (testService) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md["x-echo"]) > 0 {
		grpc.SetHeader(ctx, metadata.Pairs("x-echo", md["x-echo"][0]))
		grpc.SetTrailer(ctx, metadata.Pairs("x-trail-bin", md["x-echo"][0]))
	}
	if s := r.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage())
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: make([]byte, r.GetResponseSize())}}, nil
}

func (testService) StreamingInputCall(s pb.TestService_StreamingInputCallServer) error {
	sum := 0
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(m.GetPayload().GetBody())
	}
}

func (testService) StreamingOutputCall(r *pb.StreamingOutputCallRequest, s pb.TestService_StreamingOutputCallServer) error {
	for _, p := range r.GetResponseParameters() {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return status.Error(codes.DataLoss, "after the stream")
}

func (testService) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcServer serves it at a target.
func (pn *pen) grpcServer(name, target string, secure bool) {
	l := listen(pn.t)
	var opts []grpc.ServerOption
	if secure {
		leaf, err := pn.upstreamCA.Leaf(name)
		if err != nil {
			pn.t.Fatal(err)
		}
		opts = append(opts, grpc.Creds(credentials.NewServerTLSFromCert(leaf)))
	}
	s := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(s, testService{})
	go s.Serve(l)
	pn.t.Cleanup(s.Stop)
	pn.place(target, l.Addr().String())
}

func (pn *pen) grpcClient(target string, secure bool) pb.TestServiceClient {
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(&tls.Config{RootCAs: pn.trust})
	}
	cc, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return pn.connect(ctx, addr) }))
	if err != nil {
		pn.t.Fatal(err)
	}
	pn.t.Cleanup(func() { cc.Close() })
	return pb.NewTestServiceClient(cc)
}

func payload(n int) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

func TestGRPC(t *testing.T) {
	pn := newPen(t, someRules)
	pn.grpcServer("api.test", "api.test:443", true)
	pn.grpcServer("web.test", "web.test:8080", false)
	for target, secure := range map[string]bool{"api.test:443": true, "web.test:8080": false} {
		c := pn.grpcClient(target, secure)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		t.Run(target+" unary", func(t *testing.T) {
			for _, n := range []int{0, 1, 300_000} {
				var header, trailer metadata.MD
				ctx := metadata.AppendToOutgoingContext(ctx, "x-echo", "a b")
				r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(n), Payload: payload(n)}, grpc.Header(&header), grpc.Trailer(&trailer))
				if err != nil || len(r.GetPayload().GetBody()) != n || len(header["x-echo"]) != 1 || len(trailer["x-trail-bin"]) != 1 {
					t.Errorf("%d: %v %v %v", n, err, header, trailer)
				}
			}
		})
		t.Run(target+" status", func(t *testing.T) {
			_, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 10, Message: "\t\ntest 100% ☺"}})
			if s, _ := status.FromError(err); s.Code() != codes.Aborted || s.Message() != "\t\ntest 100% ☺" {
				t.Error(err)
			}
			if _, err := c.EmptyCall(ctx, &pb.Empty{}); status.Code(err) != codes.Unimplemented {
				t.Error(err)
			}
		})
		t.Run(target+" client stream", func(t *testing.T) {
			s, err := c.StreamingInputCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 70_000, 8} {
				s.Send(&pb.StreamingInputCallRequest{Payload: payload(n)})
			}
			if r, err := s.CloseAndRecv(); err != nil || r.GetAggregatedPayloadSize() != 70_009 {
				t.Errorf("%v %v", r, err)
			}
		})
		t.Run(target+" server stream", func(t *testing.T) {
			s, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 5}, {Size: 90_000}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{5, 90_000} {
				if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != n {
					t.Fatal(err)
				}
			}
			if _, err := s.Recv(); status.Code(err) != codes.DataLoss {
				t.Error(err)
			}
		})
		t.Run(target+" both", func(t *testing.T) {
			ctx, cancel := context.WithCancel(ctx)
			s, err := c.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 20_000, 3} { // each answer before the next question
				s.Send(&pb.StreamingOutputCallRequest{Payload: payload(n)})
				if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != n {
					t.Fatal(err)
				}
			}
			cancel()
			if _, err := s.Recv(); status.Code(err) != codes.Canceled {
				t.Error(err)
			}
		})
	}
}

// TestGRPCRule: a rule about methods lets their calls through, streams too, and no
// other.
func TestGRPCRule(t *testing.T) {
	pn := newPen(t, `  allow:
    - {host: api.test, grpc: {services: [grpc.testing.TestService/UnaryCall, "grpc.testing.TestService/Streaming*"]}}
`)
	pn.grpcServer("api.test", "api.test:443", true)
	c := pn.grpcClient("api.test:443", true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 5}); err != nil {
		t.Error(err)
	}
	s, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != 5 {
		t.Error(err)
	}
	if _, err := c.EmptyCall(ctx, &pb.Empty{}); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "not one of its services") {
		t.Error(err)
	}
	if resp, _ := get(t, pn.client("h2"), "https://api.test/grpc.testing.TestService/UnaryCall"); resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
}

func TestGRPCDenied(t *testing.T) {
	pn := newPen(t, someRules)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for target, want := range map[string]codes.Code{"evil.test:443": codes.PermissionDenied, "api.test:443": codes.Unavailable} {
		_, err := pn.grpcClient(target, true).EmptyCall(ctx, &pb.Empty{})
		if s, _ := status.FromError(err); s.Code() != want {
			t.Errorf("%s: %v", target, err)
		}
	}
}
