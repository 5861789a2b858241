package learn

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// seen reads "METHOD URL [ADDRESS]" lines.
func seen(t testing.TB, lines ...string) (out []Seen) {
	t.Helper()
	for _, l := range lines {
		f := strings.Fields(l)
		r, err := policy.ParseRequest(f[1], strings.TrimSuffix(f[0], "-"))
		if err != nil {
			t.Fatal(err)
		}
		s := Seen{Request: *r, Count: 1}
		if len(f) > 2 {
			s.Private = netip.MustParseAddr(f[2])
		}
		out = append(out, s)
	}
	return out
}

func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		name string
		seen []string
		want []string // lines of the result
	}{
		{"nothing", nil, []string{"  allow: []"}},
		{"one", []string{"GET https://a.example/x"}, []string{
			"    # 1 request", `    - {host: "a.example", protocol: https, methods: [GET], paths: ["/x"]}`,
		}},
		{"methods and ports", []string{"GET https://a.example/x", "POST https://a.example:8443/x", "GET http://a.example/y"}, []string{
			`    - {host: "a.example", protocol: http, methods: [GET], paths: ["/y"]}`,
			`    - {host: "a.example", protocol: https, ports: [443, 8443], methods: [GET, POST], paths: ["/x"]}`,
		}},
		{"many paths", []string{"GET https://a.example/v1/a", "GET https://a.example/v1/b", "GET https://a.example/v1/c", "GET https://a.example/v2/d", "GET https://a.example/v2/e"}, []string{
			`    - {host: "a.example", protocol: https, methods: [GET], paths: ["/v1/**", "/v2/**"]}`,
		}},
		{"paths everywhere", []string{"GET https://a.example/a/1", "GET https://a.example/b/1", "GET https://a.example/c/1", "GET https://a.example/d/1", "GET https://a.example/e/1"}, []string{
			`    - {host: "a.example", protocol: https, methods: [GET]}`,
		}},
		{"names of one domain", []string{"GET https://a.example.com/", "GET https://b.example.com/", "GET https://c.example.com/", "GET https://example.com/"}, []string{
			"    # 3 requests to a.example.com, b.example.com, c.example.com",
			`    - {host: "*.example.com", protocol: https, methods: [GET], paths: ["/"]}`,
			`    - {host: "example.com", protocol: https, methods: [GET], paths: ["/"]}`,
		}},
		{"no domain", []string{"GET https://a.co.uk/", "GET https://b.co.uk/", "GET https://c.co.uk/", "GET https://x.github.io/", "GET https://y.github.io/", "GET https://z.github.io/"}, []string{
			`    - {host: "a.co.uk", protocol: https, methods: [GET], paths: ["/"]}`,
			`    - {host: "z.github.io", protocol: https, methods: [GET], paths: ["/"]}`,
		}},
		{"not read", []string{"- tls://t.example:443", "- tcp://db.example:5432", "- tcp://10.1.2.3:5432", "- tcp://[2001:db8::1]:22"}, []string{
			"    # 1 connection", `    - {host: "t.example", protocol: tls}`, `    - {host: "db.example", protocol: tcp, ports: [5432]}`,
			`    - {cidr: "10.1.2.3/32", protocol: tcp, ports: [5432]}`, `    - {cidr: "2001:db8::1/128", protocol: tcp, ports: [22]}`,
		}},
		{"private", []string{"GET https://git.corp.example/x 10.0.0.7", "GET https://git.corp.example/y ::ffff:10.0.0.8"}, []string{
			`    - {host: "git.corp.example", protocol: https, methods: [GET], paths: ["/x", "/y"], addresses: ["10.0.0.7/32", "10.0.0.8/32"]}`,
		}},
		{"the host's loopback", []string{"GET http://host.penstock.internal:80/ 127.0.0.1"}, []string{
			`    - {host: "host.penstock.internal", protocol: http, ports: [80], methods: [GET], paths: ["/"]}`,
		}},
		{"odd paths", []string{"GET https://a.example/a%2Fb", "GET https://b.example/a;x=1/b", "GET https://c.example/a//b", "GET https://d.example/a%20%22b%E4", "GET https://e.example/*/**x", "OPTIONS https://f.example"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := seen(t, tt.seen...)
			text, left, err := Policy(list, "title")
			if err != nil || len(left) > 0 {
				t.Fatalf("left %v, %v\n%s", left, err, text)
			}
			if !strings.HasPrefix(string(text), "# title\nversion: 1\n") {
				t.Errorf("begins otherwise:\n%s", text)
			}
			for _, w := range tt.want {
				if !strings.Contains(string(text), w+"\n") {
					t.Errorf("lacks %s\n%s", w, text)
				}
			}
			if tt.want != nil && len(tt.seen) > 0 {
				// It is no wider than it says: another host, method or port is denied.
				p, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range seen(t, "GET https://other.invalid/", "DELETE https://a.example/x", "GET https://a.example:444/x", "- tcp://db.example:5433", "- tcp://10.1.2.4:5432", "GET https://com/", "GET https://evil.co.uk/", "GET https://w.github.io/") {
					if p.Decide(&s.Request).Action == hooks.Allow {
						t.Errorf("allows %s %v\n%s", s.Request.Method, s.Request.Target, text)
					}
				}
			}
		})
	}
}

// TestOddMethod: what can't be said costs nothing else its rule.
func TestOddMethod(t *testing.T) {
	list := seen(t, "GET https://a.example/", "GET https://a.example/")
	list[1].Request.Method = "A_B"
	text, left, err := Policy(list)
	if err != nil || len(left) != 1 || left[0].Request.Method != "A_B" || !strings.Contains(string(text), "methods: [GET]") {
		t.Errorf("left %v, %v\n%s", left, err, text)
	}
}

// TestLearnedReplaysClean: whatever was seen, what is learned from it changes none
// of its verdicts, and denies what was held back on hosts of its own.
func TestLearnedReplaysClean(t *testing.T) {
	for seed := range uint64(300) {
		g := rand.New(rand.NewPCG(seed, 1))
		one := func(list ...string) string { return list[g.IntN(len(list))] }
		line := func(host string) string {
			switch g.IntN(6) {
			case 0:
				return "- tcp://" + host + ":" + one("22", "5432", "6379")
			case 1:
				return "- tls://" + host + ":" + one("443", "8443")
			}
			path := ""
			for range 1 + g.IntN(4) {
				path += "/" + one("a", "b", "v1", "x%20y", "q;r", "", "%2e", "a%2Fb", "ä", "*")
			}
			return one("GET", "POST", "HEAD", "DELETE") + " " + one("http", "https") + "://" + host + one("", ":8080", ":443") + path
		}
		var lines, held []string
		for range g.IntN(60) {
			lines = append(lines, line(one("a.example.com", "b.example.com", "c.example.com", "example.com", "d.example", "x.co.uk", "10.0.0.1", "[2001:db8::1]")))
			held = append(held, line(one("evil.example", "com", "evil.co.uk", "10.0.0.2", "[2001:db8::2]", "example.com.evil.example")))
		}
		var list, denied []Seen
		for i, ls := range [][]string{lines, held} {
			for _, l := range ls {
				f := strings.Fields(l)
				if _, err := policy.ParseRequest(f[1], strings.TrimSuffix(f[0], "-")); err != nil {
					continue // a proxy refuses it before the policy is asked
				}
				if i == 0 {
					list = append(list, seen(t, l)...)
				} else {
					denied = append(denied, seen(t, l)...)
				}
			}
		}
		text, left, err := Policy(list)
		if err != nil || len(left) > 0 {
			t.Fatalf("seed %d: left %v, %v\n%s", seed, left, err, text)
		}
		p, err := read(text)
		if err != nil {
			t.Fatal(err)
		}
		r := Replay{Policy: p}
		for i := range list {
			r.Add(&Recorded{Request: list[i].Request, Allowed: true})
		}
		for i := range denied {
			r.Add(&Recorded{Request: denied[i].Request})
		}
		if r.Changed != 0 || r.Same != len(list)+len(denied) {
			t.Fatalf("seed %d: %+v\n%s", seed, r.Changes(), text)
		}
	}
}

func TestReplay(t *testing.T) {
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\negress:\n  allow:\n    - host: a.example\n  deny:\n    - {host: a.example, paths: [/no]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	r := Replay{Policy: p}
	list := seen(t, "GET https://a.example/", "GET https://a.example/no", "GET https://b.example/", "GET https://a.example/yes")
	for i, s := range list {
		for range i + 1 {
			r.Add(&Recorded{Request: s.Request, Allowed: i != 3, Rule: fmt.Sprint("old:", i)})
		}
	}
	got := fmt.Sprintf("%d same, %d changed", r.Same, r.Changed)
	for _, c := range r.Changes() {
		got += fmt.Sprintf("\n%d %s %s to %s by %s, now %s", c.Count, c.Request, c.Was, c.Now, c.By, c.Rule)
	}
	want := `1 same, 9 changed
3 GET https://b.example:443/ allow to deny by old:2, now 
2 GET https://a.example:443/no allow to deny by old:1, now p.yaml:6
4 GET https://a.example:443/yes deny to allow by old:3, now p.yaml:4`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestReplayHooks: what hooks decided is none of the rules' verdicts, and how much of what
// is said hooks may turn is counted.
func TestReplayHooks(t *testing.T) {
	f, err := policy.Parse("p.yaml", policy.User, []byte(`version: 1
egress: {allow: [{host: a.example}, {host: b.example}]}
hooks:
  - {name: soc, on: [connect, request, response], hosts: [a.example], http: "https://hooks.example/", key: "file:/k"}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	r := Replay{Policy: p}
	list := seen(t, "GET https://a.example/", "GET https://b.example/", "GET https://c.example/", "GET https://a.example/x")
	for _, rec := range []Recorded{
		{Request: list[0].Request, Allowed: true, Hooks: []string{"old", "old", "soc"}},
		{Request: list[1].Request, Allowed: true, Hooks: []string{"old"}},
		{Request: list[2].Request, Allowed: true},
		{Request: list[3].Request, Hooked: true, Hooks: []string{"soc"}},
	} {
		r.Add(&rec)
	}
	if got := fmt.Sprintf("%d same, %d changed, %d left out, then %v, now %v", r.Same, r.Changed, r.LeftOut, r.Then, r.Now); got != "2 same, 1 changed, 1 left out, then map[old:2 soc:2], now map[soc:1]" {
		t.Error(got)
	}
}

// FuzzPolicy: what is learned from any path can be read, and allows it.
func FuzzPolicy(f *testing.F) {
	f.Add("/", "-")
	f.Add("/", "NULL")
	f.Add("/", "A_B")
	for _, s := range []string{"/", "/a/**/b", `/"x"`, "/a b", "/%2f%00", "/ä;x//y", "*", "/#x?y"} {
		f.Add(s, "GET")
	}
	f.Fuzz(func(t *testing.T, path, method string) {
		c, err := policy.CanonicalPath(path)
		if err != nil || strings.ContainsFunc(method, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' && r != '_' }) || method == "" {
			return // the proxy refuses it
		}
		word := len(method) <= 32 && method[0] != '-' && !strings.Contains(method, "_") && method != "CONNECT"
		s := Seen{Count: 1, Request: hooks.Request{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "a.example", Port: 443}, Method: method, Path: c, Size: -1}}
		text, left, err := Policy([]Seen{s})
		if err != nil || (len(left) == 0) != (word && c != "*") && !(c == "*" && method == "OPTIONS") {
			t.Errorf("%q %q: left %v, %v\n%s", method, path, left, err, text)
		}
	})
}
