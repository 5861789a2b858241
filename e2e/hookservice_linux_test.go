package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/penstock/penstock/hooks/hookpb"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/internal/world"
)

// own is a service in Penstock's own protocol, by grpc-go.
type own struct {
	hookpb.UnimplementedHookServer
	mu    sync.Mutex
	asked []string
}

func (o *own) Decide(_ context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
	o.mu.Lock()
	o.asked = append(o.asked, strings.TrimPrefix(q.GetPoint().String(), "POINT_"))
	o.mu.Unlock()
	d := &hookpb.Decision{Version: 1, Id: q.GetId(), Decision: hookpb.Action_ACTION_NEXT}
	switch p := q.GetPoint(); {
	case p == hookpb.Point_POINT_REQUEST && q.GetPath() == "/reply":
		d.Decision, d.Reply = hookpb.Action_ACTION_REPLY, &hookpb.Reply{Status: 418, Body: []byte("from the hook\n")}
	case p == hookpb.Point_POINT_REQUEST && q.GetPath() == "/ask":
		d.Decision, d.Reason = hookpb.Action_ACTION_ASK, "is this right?"
	case p == hookpb.Point_POINT_REQUEST && q.GetPath() == "/via":
		d.Decision, d.Via = hookpb.Action_ACTION_ROUTE, "direct"
	case p == hookpb.Point_POINT_REQUEST:
		d.Set, d.Remove = map[string]string{"x-tool": "agent"}, []string{"user-agent"}
	case p == hookpb.Point_POINT_REQUEST_BODY:
		d.Body = []byte(strings.ReplaceAll(string(q.GetBody().GetData()), "hunter2", "[password]"))
	case p == hookpb.Point_POINT_RESPONSE_BODY && q.GetPath() == "/marked":
		d.Body = append([]byte("marked: "), strings.TrimPrefix(string(q.GetBody().GetData()), "marked: ")...)
	case p == hookpb.Point_POINT_TOOL_CALL && strings.Contains(q.GetTool().GetArguments(), "/etc/"):
		d.Decision, d.Reason = hookpb.Action_ACTION_DENY, "not "+q.GetTool().GetName()+" there"
	case p == hookpb.Point_POINT_DNS && q.GetHost() == "hidden.example.com":
		d.Decision, d.Reason = hookpb.Action_ACTION_DENY, "there is no such name"
	}
	return d, nil
}

// TestHookOwnService: a service in Penstock's own protocol is asked at its points about what
// curl does in a real pen, and what it says is done: header and bodies changed, a reply, a
// question to a person, a route, a tool and a name denied. The service in Python of the
// documentation is asked beside it.
func TestHookOwnService(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			says := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %s by %q %q: %s\n", r.Method, r.URL.Path, r.Header["X-Tool"], r.Header["User-Agent"], b)
			})
			w.HTTPS("api.example.com", says)
			hidden := w.HTTPS("hidden.example.com", says)
			w.HTTPS("tools.example.com", says)
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			service := new(own)
			s := grpc.NewServer(grpc.MaxRecvMsgSize(9 << 20))
			hookpb.RegisterHookServer(s, service)
			go s.Serve(l) //nolint:errcheck // it is stopped
			t.Cleanup(s.Stop)

			p.Allow = []string{"{host: api.example.com}", "{host: hidden.example.com}", "{host: tools.example.com, jsonrpc: {methods: [tools/call], tools: ['*']}}"}
			p.Hooks = []string{
				`{name: own, on: [session_start, session_end, dns, connect, request, response, request_body, response_body, tool_call], grpc: "http://` + l.Addr().String() + `", protocol: penstock, change: body, timeout: 20s}`,
				`{name: python, on: [request, request_body], grpc: "http://` + hookstest.Documented(t, "..") + `", protocol: penstock, change: body, timeout: 20s}`,
			}
			p.Flags = append(p.Flags, "--ci")
			r := p.Sh(`curl -sS https://api.example.com/get; curl -sS -d 'I am ann@example.com, hunter2' https://api.example.com/post; curl -sS https://api.example.com/marked
for x in reply ask via; do curl -sS https://api.example.com/$x; echo; done; curl -sS -X DELETE https://api.example.com/get; echo
call() { curl -sS -H 'content-type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"path":"'$1'"}}}' https://tools.example.com/mcp; echo; }
call /home/a; call /etc/shadow; curl -sS https://hidden.example.com/; true`)
			world.WantOutput(t, r, 0, `GET /get by ["agent"] []: `, `POST /post by ["agent"] []: I am [address], [password]`, `marked: GET /marked by ["agent"] []: `, "from the hook",
				"hook own asks: is this right?", "GET /via by []", "denied by hook python: nothing is deleted from here", `{"path":"/home/a"}`, "denied by hook own: not read there")
			if w.Reached(hidden) || strings.Contains(r.Stdout, "DELETE /get") || strings.Contains(r.Stdout, "GET /ask") || strings.Contains(r.Stdout, "/etc/shadow") {
				t.Error(r)
			}
			service.mu.Lock()
			defer service.mu.Unlock()
			for _, point := range []string{"SESSION_START", "SESSION_END", "DNS", "CONNECT", "REQUEST", "RESPONSE", "REQUEST_BODY", "RESPONSE_BODY", "TOOL_CALL"} {
				if !slices.Contains(service.asked, point) {
					t.Errorf("not asked at %s, but %s", point, service.asked)
				}
			}
		})
	}
}
