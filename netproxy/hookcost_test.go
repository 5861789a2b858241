package netproxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"slices"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/hooks/extauthz"
	"github.com/penstock/penstock/hooks/hookpb"
	"github.com/penstock/penstock/hooks/service"
	"github.com/penstock/penstock/hooks/webhook"
)

// yes is an authorization service that has nothing against anything.
type yes struct {
	auth.UnimplementedAuthorizationServer
}

func (yes) Check(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
	return &auth.CheckResponse{Status: &rpc.Status{}}, nil
}

// next is a hook in Penstock's own protocol that says so.
type next struct{ hookpb.UnimplementedHookServer }

func (next) Decide(_ context.Context, q *hookpb.Question) (*hookpb.Decision, error) {
	return &hookpb.Decision{Version: 1, Id: q.GetId(), Decision: hookpb.Action_ACTION_NEXT}, nil
}

// runners are hooks that say next, one of each kind that asks somebody.
func runners(b *testing.B) map[string]hooks.Hook {
	made := func(h hooks.Hook, err error) hooks.Hook {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return h
	}
	out := map[string]hooks.Hook{"cel": made(cel.Language{}.CompileHook(`request.method == "PUT" ? "deny" : "next"`, hooks.PointRequest))}

	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			ID string `json:"id"`
		}
		json.NewDecoder(r.Body).Decode(&q) //nolint:errcheck // then it is no answer
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"version":1,"id":"`+q.ID+`","decision":"next"}`)
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	b.Cleanup(web.Close)
	out["http"] = made(webhook.New("h", web.URL, make([]byte, webhook.MinKey), web.Client().Transport))

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	auth.RegisterAuthorizationServer(s, yes{})
	hookpb.RegisterHookServer(s, next{})
	go s.Serve(l) //nolint:errcheck // it is stopped
	b.Cleanup(s.Stop)
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetUnencryptedHTTP2(true)
	b.Cleanup(t.CloseIdleConnections)
	out["grpc"] = made(extauthz.New("h", "http://"+l.Addr().String(), t))
	out["grpc-penstock"] = made(service.New("h", "http://"+l.Addr().String(), t))

	stays := exec.New("h", func(context.Context) (*exec.Process, error) {
		cmd := osexec.Command(need(b, "python3"), "-c", `
import json, sys
for line in sys.stdin:
    print(json.dumps({"version": 1, "id": json.loads(line)["id"], "decision": "next"}), flush=True)
`)
		cmd.Stderr = os.Stderr
		theirIn, in, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		outEnd, theirOut, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		cmd.Stdin, cmd.Stdout = theirIn, theirOut
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		theirIn.Close()
		theirOut.Close()
		ended := make(chan int, 1)
		go func() { cmd.Wait(); ended <- 0 }()                                                            //nolint:errcheck // it is killed
		return &exec.Process{In: in, Out: outEnd, Ended: ended, Kill: func() { cmd.Process.Kill() }}, nil //nolint:errcheck // it may have ended
	})
	b.Cleanup(func() { stays.Close() })
	out["exec"] = stays
	return out
}

// BenchmarkHooks says what a hook of each kind adds to the median of a request over
// a connection that is there: proxies that differ by it, asked in turns.
func BenchmarkHooks(b *testing.B) {
	type side struct {
		client *http.Client
		took   []time.Duration
	}
	add := func(options ...func(*Config)) *side {
		pn := newPen(b, someRules, options...)
		pn.all()
		return &side{client: pn.client("h1")}
	}
	sides := map[string]*side{"": add()}
	for name, h := range runners(b) {
		sides[name] = add(func(cfg *Config) {
			cfg.Hooks = []chain.Entry{{Name: "h", Rule: "test.yaml:9", Hook: h, Timeout: 10 * time.Second}}
		})
	}
	names := []string{""}
	for name := range sides {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, s := range sides {
		get(b, s.client, "https://api.test/x") // connections, and the process's start
	}
	for b.Loop() {
		for _, name := range names {
			s := sides[name]
			begin := time.Now()
			if resp, body := get(b, s.client, "https://api.test/x"); resp.StatusCode != http.StatusOK {
				b.Fatalf("%s: %s %s", name, resp.Status, body)
			}
			s.took = append(s.took, time.Since(begin))
		}
	}
	p50 := func(name string) float64 {
		t := sides[name].took
		slices.Sort(t)
		return float64(t[len(t)/2].Nanoseconds()) / 1e3
	}
	without := p50("")
	b.ReportMetric(without, "µs-none")
	for _, name := range names[1:] {
		b.ReportMetric(p50(name)-without, "µs-"+name)
	}
}
