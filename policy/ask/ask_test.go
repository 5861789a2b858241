package ask

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

func ask1(t testing.TB, egress, method, url string, who *hooks.Process) *Question {
	t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\negress: "+egress))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	r, err := policy.ParseRequest(url, method)
	if err != nil {
		t.Fatal(err)
	}
	r.Process, r.Size = who, -1
	v := p.Decide(r)
	if v.Action != hooks.Ask {
		t.Fatalf("%s: %+v", url, v)
	}
	q := New(p, r, v)
	q.ID, q.Asked = 1, time.Now()
	q.Until = q.Asked.Add(p.AskTime())
	return q
}

// TestNewPassesCheck: what the proxy makes of any tool is taken.
func TestNewPassesCheck(t *testing.T) {
	evil := "\x1b[31m\u202e\xff\n"
	who := &hooks.Process{PID: 7, Exe: hooks.Executable{Path: "/" + strings.Repeat(evil, 1000)}, Args: make([]string, 500)}
	for i := range who.Args {
		who.Args[i] = strings.Repeat(evil, i)
	}
	for _, tt := range []struct{ egress, method, url, rule string }{
		{"{default: ask}", "GET", "https://a.example/" + strings.Repeat("x", 4000), "{host: a.example, protocol: https, methods: [GET, HEAD, OPTIONS]}"},
		{"{default: ask}", "POST", "http://A.Example:8080/", "{host: a.example, protocol: http, ports: [8080]}"},
		{"{default: ask}", "GET", "https://bücher.example/", "{host: xn--bcher-kva.example, protocol: https, methods: [GET, HEAD, OPTIONS]}"},
		{"{default: ask}", "GET", "https://[2001:db9::1]/", `{cidr: "2001:db9::1/128", protocol: https, methods: [GET, HEAD, OPTIONS]}`},
		{"{default: ask}", "", "tcp://a.example:22", "{host: a.example, protocol: tcp, ports: [22]}"},
		{`{ask: [{host: "*.a.example", inspect: false}]}`, "", "tls://b.a.example", "{host: b.a.example, protocol: tls}"},
		{`{ask: [{host: "*.a.example", methods: [GET, POST], paths: ["/x/**"], addresses: [10.0.0.0/8], when: 'request.size < 5'}, {host: "*", methods: [GET]}]}`, "GET", "https://b.a.example/y", "{host: b.a.example, protocol: https, methods: [GET]}"},
		{`{ask: [{cidr: 10.0.0.0/8, ports: [5432], protocol: tcp}]}`, "", "tcp://10.1.2.3:5432", "{cidr: 10.1.2.3/32, protocol: tcp, ports: [5432]}"},
	} {
		q := ask1(t, tt.egress, tt.method, tt.url, who)
		if q.Rule != tt.rule {
			t.Errorf("%s: %s", tt.url, q.Rule)
		}
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 64<<10 {
			t.Errorf("%s: %d bytes", tt.url, len(b))
		}
		var back Question
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Check(); err != nil {
			t.Errorf("%s: %v", tt.url, err)
		}
		if strings.Contains(q.Host, "xn--") != q.Foreign() {
			t.Errorf("%s: foreign %v", q.Host, q.Foreign())
		}
	}
}

// TestCheck: what a proxy in a tool's hands would try.
func TestCheck(t *testing.T) {
	for name, spoil := range map[string]func(*Question){
		"no number":          func(q *Question) { q.ID = 0 },
		"no target":          func(q *Question) { q.Host = "" },
		"two targets":        func(q *Question) { q.Address = netip.MustParseAddr("1.2.3.4") },
		"mapped address":     func(q *Question) { q.Host, q.Address = "", netip.MustParseAddr("::ffff:1.2.3.4") },
		"unicode":            func(q *Question) { q.Host = "ä.example" },
		"capitals":           func(q *Question) { q.Host = "A.example" },
		"escape":             func(q *Question) { q.Host = "a\x1b[2J.example" },
		"another's rule":     func(q *Question) { q.Rule = "{host: b.example, protocol: https}" },
		"a wide rule":        func(q *Question) { q.Rule = `{host: "*", protocol: https}` },
		"a range":            func(q *Question) { q.Rule = "{cidr: 0.0.0.0/0}" },
		"all ports":          func(q *Question) { q.Rule = "{host: a.example, protocol: tcp, ports: [443, 22]}" },
		"two protocols":      func(q *Question) { q.Rule = "{host: a.example}" },
		"two rules":          func(q *Question) { q.Rule = "{host: a.example, protocol: https}, {host: b.example}" },
		"an end of the list": func(q *Question) { q.Rule = "{host: a.example, protocol: https}], deny: [{host: b.example}" },
		"another spelling":   func(q *Question) { q.Rule = "{ host: a.example,  protocol: https }" },
		"a deny that allows": func(q *Question) { q.DenyRule = q.Rule + " # x" },
		"deny another":       func(q *Question) { q.DenyRule = "{host: b.example}" },
		"long path":          func(q *Question) { q.Path = "/" + strings.Repeat("x", maxPath) },
		"long argument":      func(q *Question) { q.Args = []string{strings.Repeat("x", maxArgs+1)} },
		"many arguments":     func(q *Question) { q.Args = make([]string, maxArgCount+1) },
		"many warnings":      func(q *Question) { q.Warnings = make([]string, maxWarnings+1) },
		"long warning":       func(q *Question) { q.Warnings = []string{strings.Repeat("x", maxWarning+1)} },
		"long name":          func(q *Question) { q.Exe = strings.Repeat("x", maxExe+1) },
		"method":             func(q *Question) { q.Method = "get it" },
		"no method":          func(q *Question) { q.Method = "" },
		"raw with a path":    func(q *Question) { q.Protocol = "tcp" },
		"protocol":           func(q *Question) { q.Protocol = "udp" },
		"port":               func(q *Question) { q.Port = 0 },
		"for ever":           func(q *Question) { q.Until = q.Asked.Add(24 * time.Hour) },
		"size":               func(q *Question) { q.Size = -2 },
	} {
		q := ask1(t, "{default: ask}", "PUT", "https://a.example/", nil)
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(q); q.Check() == nil {
			t.Errorf("%s: %+v is taken", name, q)
		}
	}
}

func TestAnswerSays(t *testing.T) {
	for want, a := range map[string]Answer{
		"approved by anna, once":         {ID: 1, Allow: true, Scope: Once, By: "anna"},
		"approved by anna for 10m0s":     {ID: 1, Allow: true, Scope: For, For: 10 * time.Minute, By: "anna"},
		"denied by anna for the session": {ID: 1, Scope: Session, By: "anna"},
		"denied by anna for always":      {ID: 1, Scope: Always, By: "anna"},
	} {
		if err := a.Check(); err != nil || a.String() != want {
			t.Errorf("%s, %v", a.String(), err)
		}
	}
}

// TestByHook: a question of a hook says which and why, and no rule that says the same.
func TestByHook(t *testing.T) {
	r, err := policy.ParseRequest("https://a.example/x", "PUT")
	if err != nil {
		t.Fatal(err)
	}
	p := new(policy.Policy)
	make1 := func() *Question {
		q := NewByHook(p, r, &Hook{Name: "dlp-2", Rule: "p.yaml:4", Point: hooks.PointConnect, Why: "hook dlp-2 asks: " + strings.Repeat("x", 4000)})
		q.ID, q.Asked = 1, time.Now()
		q.Until = q.Asked.Add(time.Minute)
		return q
	}
	q := make1()
	if err := q.Check(); err != nil {
		t.Fatal(err)
	}
	if q.Hook != "dlp-2" || !strings.HasPrefix(q.By, "p.yaml:4 about the connection hook dlp-2 asks: x") || q.Rule != "" || q.DenyRule != "{host: a.example}" {
		t.Errorf("%+v", q)
	}
	tool := &Hook{Name: "a", Rule: "p.yaml:4", Point: hooks.PointToolCall, Tool: `"exec"`, Why: "hook a asks"}
	if tool.By() != `p.yaml:4 about a call of tool "exec" hook a asks` {
		t.Error(tool.By())
	}
	for name, spoil := range map[string]func(*Question){
		"a rule":     func(q *Question) { q.Rule = "{host: a.example}" },
		"a name":     func(q *Question) { q.Hook = "\x1b[2J" },
		"long":       func(q *Question) { q.Hook = strings.Repeat("x", 41) },
		"nobody":     func(q *Question) { q.Hook = "" },
		"wrong deny": func(q *Question) { q.DenyRule = "{host: b.example}" },
	} {
		q := make1()
		if spoil(q); q.Check() == nil {
			t.Errorf("%s: %+v is taken", name, q)
		}
	}
}

// FuzzQuestion: what passes is bounded, and its rules are about its target alone.
func FuzzQuestion(f *testing.F) {
	for _, url := range []string{"https://a.example/x", "http://1.2.3.4:8080/", "tcp://a.example:22"} {
		method := "GET"
		if strings.HasPrefix(url, "tcp") {
			method = ""
		}
		b, _ := json.Marshal(ask1(f, "{default: ask}", method, url, &hooks.Process{Exe: hooks.Executable{Path: "/x"}, Args: []string{"x"}}))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Question
		if json.Unmarshal(b, &q) != nil || q.Check() != nil {
			return
		}
		if len(q.Path)+len(q.Exe)+len(q.Rule)+len(q.By) > 32<<10 || len(strings.Join(q.Args, "")) > maxArgs {
			t.Fatalf("%d bytes pass", len(b))
		}
		if q.Hook != "" {
			if q.Rule != "" || len(q.Hook) > maxHook {
				t.Fatalf("%+v passes", q)
			}
			return
		}
		r, err := policy.ParseApproval(q.Rule, q.Target(), false)
		if err != nil || r.Deny || r.Text != q.Rule {
			t.Fatalf("%+v: %v", q, err)
		}
	})
}
