package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/hooks/webhook"
	"github.com/penstock/penstock/internal/world"
)

// A webhook decides about the requests of curl in a real pen, of an ordinary user,
// of root and under the privileged supervisor; the pen never sees its key, and
// does not reach the hook itself.
func TestWebhook(t *testing.T) {
	const key = "3f1c0a55e1b84c27-the-key-of-the-hook"
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			api := w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.URL.Path) }))
			var mu sync.Mutex
			var asked []string
			w.HTTPS("hooks.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q, _ := io.ReadAll(r.Body)
				if r.Header.Get(webhook.SignatureHeader) != webhook.Sign([]byte(key), r.Header.Get(webhook.TimeHeader), q) {
					t.Errorf("the question is signed %q", r.Header.Get(webhook.SignatureHeader))
				}
				var v struct{ ID, Method, Path string }
				if err := json.Unmarshal(q, &v); err != nil {
					t.Error(err)
				}
				mu.Lock()
				asked = append(asked, v.Method+" "+v.Path)
				mu.Unlock()
				answer := map[string]any{"version": 1, "id": v.ID, "decision": "next"}
				switch v.Path {
				case "/no":
					answer["decision"], answer["reason"] = "deny", "not by this hook"
				case "/teapot":
					answer["decision"], answer["reply"] = "reply", map[string]any{"status": 418, "body": []byte("I am a teapot")}
				case "/nonsense":
					answer["decision"] = "allow"
				}
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(answer)
			}))
			p.Opts.Env = append(p.Opts.Env, "SOC_KEY="+key)
			p.Allow = []string{"{host: api.example.com}"}
			p.Hooks = []string{`{name: soc, on: [request], http: "https://hooks.example.com/penstock", key: "env:SOC_KEY", timeout: 20s}`}
			r := p.Sh(`for x in yes no teapot nonsense; do curl -sS https://api.example.com/$x; echo; done; curl -sS https://hooks.example.com/; echo "key=$SOC_KEY"; tr '\0' '\n' </proc/self/environ; true`)
			for _, want := range []string{"api has /yes", "denied by hook soc: not by this hook", "I am a teapot", "hook soc failed, which denies: its answer has a decision that is not known", "no rule allows https to hooks.example.com:443", "key=\n"} {
				if !strings.Contains(r.Stdout, want) {
					t.Errorf("no %q in %s", want, r)
				}
			}
			if strings.Contains(r.Stdout+r.Stderr, key) || strings.Contains(r.Stdout, "api has /no") || !w.Reached(api) {
				t.Error(r)
			}
			mu.Lock()
			got := strings.Join(asked, ", ")
			mu.Unlock()
			if got != "GET /yes, GET /no, GET /teapot, GET /nonsense" {
				t.Errorf("asked about %s", got)
			}
			out := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--all")
			if strings.Contains(out.Stdout, key) || strings.Count(out.Stdout, `"hooks":[{"hook":"soc","decision":"`) != 4 {
				t.Error(out)
			}
			// Without the key nothing starts.
			p.Opts.Env = o.Env
			if r := p.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, "use the key of hook soc") || !strings.Contains(r.Stderr, "variable SOC_KEY is empty or not set") {
				t.Error(r)
			}
		})
	}
}

// A webhook decides whether a session starts, of an ordinary user, of root and under the
// privileged supervisor, and is told of its end; what it denies has not run.
func TestSessionHook(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			told := make(chan string, 10)
			w.HTTPS("hooks.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var v struct {
					ID, Point string
					Run       struct {
						Command    []string
						User, Tier string
						End        struct {
							Code int `json:"exit_code"`
						}
					}
				}
				if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
					t.Error(err)
				}
				command := strings.Join(v.Run.Command, " ")
				no := strings.Contains(command, "forbidden")
				told <- fmt.Sprintf("%s %t %d %t", v.Point, no, v.Run.End.Code, v.Run.User != "" && v.Run.Tier == "bwrap")
				answer := map[string]any{"version": 1, "id": v.ID, "decision": "next"}
				if no {
					answer["decision"], answer["reason"] = "deny", "not this one"
				}
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(answer)
			}))
			p.Opts.Env = append(p.Opts.Env, "SOC_KEY=0123456789abcdef")
			p.Hooks = []string{`{name: soc, on: [session_start, session_end], http: "https://hooks.example.com/penstock", key: "env:SOC_KEY", timeout: 5s}`}
			if r := p.Sh("echo ran; exit 3"); r.Code != 3 || !strings.Contains(r.Stdout, "ran") {
				t.Error(r)
			}
			if r := p.Sh("echo ran forbidden"); r.Code != 125 || strings.Contains(r.Stdout, "ran") || !strings.Contains(r.Stderr, "the session may not start: denied by hook soc: not this one") {
				t.Error(r)
			}
			close(told)
			var got []string
			for s := range told {
				got = append(got, s)
			}
			if want := "session_start false 0 true, session_end false 3 true, session_start true 0 true, session_end true 125 true"; strings.Join(got, ", ") != want {
				t.Errorf("it was told %q", got)
			}
		})
	}
}
