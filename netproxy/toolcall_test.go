package netproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/speech"
)

// TestToolCalls: hooks are asked about each call of a tool that a rule about JSON-RPC has
// found, before anything of the request leaves, and about what others have made of it.
func TestToolCalls(t *testing.T) {
	const rules = `  allow:
    - {host: rpc.test, jsonrpc: {methods: [ping, tools/call]}}
    - {host: free.test}
`
	var mu sync.Mutex
	var told []string
	guard := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.Tool.Name+string(r.Tool.Arguments))
		switch {
		case r.Path != "/mcp" || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json":
			return hooks.Decision{Reason: "what request is it?"}, nil
		case r.Tool.Name == "delete":
			return hooks.Decision{Reason: "nothing is deleted"}, nil
		case r.Tool.Name == "buy":
			return hooks.Decision{Action: hooks.Ask, Reason: "for money?"}, nil
		case r.Tool.Name == "reply":
			return hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}}, nil
		case r.Tool.Name == "set":
			return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-A": "b"}}}, nil
		}
		return hooks.Decision{Action: hooks.Next}, nil
	})
	header := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: map[string]string{"X-Seen": "yes"}}}, nil
	})
	body := hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
		d := hooks.Decision{Action: hooks.Next}
		if made := strings.Replace(string(r.Body.Data), "harmless", "delete", 1); made != string(r.Body.Data) {
			d.Change = &hooks.Change{Body: []byte(made)}
		}
		return d, nil
	})
	pn := newPen(t, rules, func(cfg *Config) {
		cfg.Limits = Limits{} // who waits for a processor is not slow
		cfg.Hooks = []chain.Entry{
			{Name: "guard", Rule: "test.yaml:9", Hook: guard, On: []hooks.Point{hooks.PointToolCall}, Timeout: chain.MaxTimeout},
			{Name: "header", Rule: "test.yaml:10", Hook: header, Timeout: chain.MaxTimeout},
			{Name: "body", Rule: "test.yaml:11", Hook: body, On: []hooks.Point{hooks.PointRequestBody}, Inspect: hooks.Inspect{Change: true}, Timeout: chain.MaxTimeout},
		}
	})
	arrived := 0
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		arrived++
	})
	pn.origin("rpc.test:443", h)
	pn.origin("free.test:443", h)
	call := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + "}"
	}
	search := call(`{"name":"search","arguments": {"q":["<a>",1.0]}}`)
	batch := func(n int) string { return "[" + strings.Repeat(search+",", n-1) + search + "]" }
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		for _, tt := range []struct {
			host, body string
			told       []string
			why        string // "" arrives
			rule       string
		}{
			{"rpc.test", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, nil, "", "test.yaml:4"},
			{"rpc.test", search, []string{`search{"q":["<a>",1.0]}`}, "", "test.yaml:4"},
			{"rpc.test", call(`{"name":"search"}`), []string{"search"}, "", "test.yaml:4"},
			{"rpc.test", call(`{"name":"delete","arguments":null}`), []string{"deletenull"}, "denied by hook guard: nothing is deleted", "test.yaml:9"},
			{"rpc.test", "[" + search + "," + call(`{"name":"delete"}`) + "," + search + "]", []string{`search{"q":["<a>",1.0]}`, "delete"}, "denied by hook guard", "test.yaml:9"},
			{"rpc.test", batch(speech.MaxTools), nil, "", "test.yaml:4"},
			{"rpc.test", batch(speech.MaxTools + 1), []string{}, "hook guard can't be asked: there are more than 16 calls", "test.yaml:9"},
			{"rpc.test", call(`{"arguments":{}}`), []string{}, "hook guard can't be asked: a call of a tool does not name it", "test.yaml:9"},
			{"rpc.test", call(`["search"]`), []string{}, "does not name it", "test.yaml:9"},
			{"rpc.test", call(`{"name":"search","Arguments":{}}`), []string{}, "may be taken for arguments", ""},
			{"rpc.test", call(`{"name":"buy"}`), []string{"buy"}, "there is nobody to ask; hook guard asks: for money?", "test.yaml:9"},
			{"rpc.test", call(`{"name":"reply"}`), []string{"reply"}, "hook guard failed", "test.yaml:9"},
			{"rpc.test", call(`{"name":"set"}`), []string{"set"}, "hook guard failed", "test.yaml:9"},
			{"rpc.test", call(`{"name":"harmless"}`), []string{"harmless", "delete"}, "nothing is deleted", "test.yaml:9"},
			{"free.test", call(`{"name":"delete"}`), []string{}, "", "test.yaml:5"},
		} {
			name := fmt.Sprintf("%s %s %.120s", proto, tt.host, tt.body)
			mu.Lock()
			told, arrived = nil, 0
			mu.Unlock()
			r := request(t, "POST", "https://"+tt.host+"/mcp", tt.body)
			r.Header.Set("Content-Type", "application/json")
			s := <-fetched(t, cl, r)
			open := lastOpen(pn)
			mu.Lock()
			if tt.told != nil && strings.Join(told, "\n") != strings.Join(tt.told, "\n") {
				t.Errorf("%s: told of %q", name, told)
			}
			if tt.why == "" && (!strings.HasPrefix(s, "200") || arrived != 1) || tt.why != "" && (!strings.HasPrefix(s, "403") || !strings.Contains(s, tt.why) || arrived != 0) {
				t.Errorf("%s: %s, %d arrived", name, s, arrived)
			}
			n := 0
			for _, x := range open.Hooks {
				if x.Point == hooks.PointToolCall {
					n++
				}
			}
			if open.Rule != tt.rule || n != len(told) {
				t.Errorf("%s: told of %d, recorded %+v", name, len(told), open)
			}
			mu.Unlock()
		}
	}
	if n := pn.p.held.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}
