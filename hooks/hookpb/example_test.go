package hookpb_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/penstock/penstock/hooks/hookpb"
)

// guard is a service that a hook with protocol: penstock asks.
type guard struct {
	hookpb.UnimplementedHookServer
}

// Decide says what becomes of one question.
func (guard) Decide(_ context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
	d := &hookpb.Decision{Version: 1, Id: q.GetId(), Decision: hookpb.Action_ACTION_NEXT}
	if q.GetPoint() == hookpb.Point_POINT_REQUEST && q.GetMethod() == "DELETE" {
		d.Decision, d.Reason = hookpb.Action_ACTION_DENY, "nothing is deleted from here"
	}
	return d, nil
}

// A service listens where the policy's grpc: says, here at any port, and takes messages of
// more than a whole body, of at most 8 MiB.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(9 << 20))
	hookpb.RegisterHookServer(s, guard{})
	go s.Serve(l)
	defer s.Stop()

	// Penstock asks it so.
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, method := range []string{"GET", "DELETE"} {
		d, err := hookpb.NewHookClient(c).Decide(context.Background(), &hookpb.Question{Version: 1, Id: "7", Point: hookpb.Point_POINT_REQUEST, Method: method})
		fmt.Println(method, d.GetDecision(), d.GetReason(), err)
	}
	// Output:
	// GET ACTION_NEXT  <nil>
	// DELETE ACTION_DENY nothing is deleted from here <nil>
}
