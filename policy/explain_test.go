package policy

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func TestExplain(t *testing.T) {
	p := mustPolicy(t, example)
	for _, tt := range []struct {
		req, rule, near, yaml, flag string
	}{
		{"https://api.anthropic.com/", "p.yaml:5", "", "{host: api.anthropic.com}", "--deny api.anthropic.com"},
		{"https://api.anthropic.com:8443/", "", "p.yaml:5: it is about the usual ports (https 443, http 80), not 8443", "{host: api.anthropic.com, ports: [8443]}", "--allow api.anthropic.com:8443"},
		{"POST https://api.github.com/my-org/x", "", "p.yaml:6: it is about GET, HEAD, not POST", "{host: api.github.com}", "--allow api.github.com"},
		{"https://api.github.com/other", "", `p.yaml:6: it is about paths "/my-org/**"`, "{host: api.github.com}", "--allow api.github.com"},
		{"https://api.github.com//my-org/", "", "this path can be read in several ways", "{host: api.github.com}", "--allow api.github.com"},
		{"https://gist.github.com/", "p.yaml:19", "", "", ""},
		{"https://nowhere.example/", "", "", "{host: nowhere.example}", "--allow nowhere.example"},
		{"tcp://ssh.example:22", "", "", "{host: ssh.example, protocol: tcp, ports: [22]}", "--allow tcp://ssh.example:22"},
		{"tcp://db.corp.example:5433", "", "p.yaml:9: it is about port 5432, not 5433", "{host: db.corp.example, protocol: tcp, ports: [5433]}", "--allow tcp://db.corp.example:5433"},
		{"https://1.2.3.4:8443/", "", "", "{cidr: 1.2.3.4/32, ports: [8443]}", "--allow 1.2.3.4:8443"},
		{"https://[2001:db9::1]:8443/", "", "", `{cidr: "2001:db9::1/128", ports: [8443]}`, "--allow '[2001:db9::1]:8443'"},
		{"http://host.penstock.internal/", "", "p.yaml:16: it is about port 3000, not 80", "{host: host.penstock.internal, ports: [80]}", "--allow host.penstock.internal:80"},
		{"tls://nowhere.example", "", "", "{host: nowhere.example, protocol: tls}", "--allow tls://nowhere.example"},
	} {
		e := p.Explain(req(t, tt.req))
		near := ""
		for _, n := range e.Near {
			near += n.Rule + ": " + n.Why + "\n"
		}
		if e.Rule != tt.rule || !strings.Contains(near, tt.near) {
			t.Errorf("%s: got rule %q, near %q", tt.req, e.Rule, near)
		}
		if len(e.Change) == 0 || e.Change[0].YAML != tt.yaml || e.Change[0].Flag != tt.flag {
			t.Errorf("%s: change %+v", tt.req, e.Change)
			continue
		}
		if e.Rule == "" && !strings.Contains(e.Reason, tt.flag) {
			t.Errorf("%s: reason %q has no %s", tt.req, e.Reason, tt.flag)
		}
		suggestionsWork(t, tt.req, e)
	}
}

// suggestionsWork holds suggestions to their word: taken, they turn the verdict.
func suggestionsWork(t *testing.T, request string, e Explanation) {
	t.Helper()
	for _, c := range e.Change {
		if c.Flag == "" {
			continue
		}
		flag, value, _ := strings.Cut(c.Flag, " ")
		p := mustPolicy(t, example, Inline{flag, strings.Trim(value, "'")})
		section := strings.TrimPrefix(flag, "--")
		f, err := Parse("suggested.yaml", Project, []byte("version: 1\negress: {"+section+": ["+c.YAML+"]}\n"))
		if err != nil {
			t.Errorf("%s: the suggested rule does not parse: %v", request, err)
			continue
		}
		base, err := Parse("p.yaml", User, []byte(example))
		if err != nil {
			t.Fatal(err)
		}
		q, err := New([]*File{base, f})
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		for _, p := range []*Policy{p, q} {
			if got := p.Decide(req(t, request)).Action.String(); got == e.Action {
				t.Errorf("%s is still %s with %s", request, got, c.Flag)
			}
		}
	}
}

func TestExplainUnfit(t *testing.T) {
	p := mustPolicy(t, "version: 1\negress: {default: allow}\n")
	good := *req(t, "https://a.example/x")
	if p.Decide(&good).Action != hooks.Allow {
		t.Fatal("the good request is denied")
	}
	for name, change := range map[string]func(*hooks.Request){
		"upper-case host": func(r *hooks.Request) { r.Target.Host = "A.example" },
		"trailing dot":    func(r *hooks.Request) { r.Target.Host = "a.example." },
		"no host":         func(r *hooks.Request) { r.Target.Host = "" },
		"bad host":        func(r *hooks.Request) { r.Target.Host = "a/b" },
		"both":            func(r *hooks.Request) { r.Target.Addr = req(t, "1.2.3.4").Target.Addr },
		"no port":         func(r *hooks.Request) { r.Target.Port = 0 },
		"lower method":    func(r *hooks.Request) { r.Method = "get" },
		"no method":       func(r *hooks.Request) { r.Method = "" },
		"no path":         func(r *hooks.Request) { r.Path = "" },
		"dots":            func(r *hooks.Request) { r.Path = "/a/../b" },
		"encoded letter":  func(r *hooks.Request) { r.Path = "/%61" },
		"star":            func(r *hooks.Request) { r.Path = "*" },
		"udp":             func(r *hooks.Request) { r.Protocol = hooks.ProtocolUDP },
		"unknown":         func(r *hooks.Request) { r.Protocol = hooks.ProtocolUnknown },
		"protocol of 200": func(r *hooks.Request) { r.Protocol = 200 },
		"control in path": func(r *hooks.Request) { r.Path = "/a\x00" },
		"space in method": func(r *hooks.Request) { r.Method = "GET /" },
		"host.internal":   func(r *hooks.Request) { r.Target.Host = HostInternal },
	} {
		r := good
		change(&r)
		v := p.Decide(&r)
		if v.Action != hooks.Deny || v.Reason == "" || !isPrintableASCII(v.Reason) {
			t.Errorf("%s: %+v", name, v)
		}
		if e := p.Explain(&r); e.Action != "deny" || !isPrintableASCII(e.Request) {
			t.Errorf("%s: explained as %+v", name, e)
		}
	}
	if v := p.Decide(nil); v.Action != hooks.Deny {
		t.Error("no request is allowed")
	}
	options := good
	options.Method, options.Path = "OPTIONS", "*"
	if p.Decide(&options).Action != hooks.Allow {
		t.Error("OPTIONS * is refused")
	}
}

func TestConnect(t *testing.T) {
	p := mustPolicy(t, example)
	audit := mustPolicy(t, "version: 1\negress: {default: allow, deny: [{host: half.example, paths: [/x]}, {host: all.example}]}\n")
	for _, tt := range []struct {
		p      *Policy
		target string
		want   string // of r(aw) t(cp allowed) p(ass-through) h(ttp) s(https)
	}{
		{p, "api.anthropic.com:443", "s"},
		{p, "api.anthropic.com:80", "h"},
		{p, "api.anthropic.com:22", ""},
		{p, "db.corp.example:5432", "rtphs"},
		{p, "pinned.example:443", "ps"},
		{p, "half.example:443", "s"},
		{p, "gist.github.com:443", ""},
		{p, "x.wide.example:8000", "hs"},
		{p, "10.20.0.1:443", "hs"},
		{p, "host.penstock.internal:3000", "hs"},
		{p, "host.penstock.internal:80", ""},
		{audit, "any.example:443", "ths"},
		{audit, "half.example:443", "hs"},
		{audit, "all.example:443", ""},
		{audit, "host.penstock.internal:80", ""},
	} {
		target, err := ParseTarget(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		c := tt.p.Connect(target)
		got := ""
		for _, b := range []struct {
			on   bool
			name string
		}{{c.Raw, "r"}, {c.TCP.Action == hooks.Allow, "t"}, {c.PassThrough != nil, "p"}, {c.HTTP, "h"}, {c.HTTPS, "s"}} {
			if b.on {
				got += b.name
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.target, got, tt.want)
		}
		if c.Possible() != (got != "") {
			t.Errorf("%s: possible is %v", tt.target, c.Possible())
		}
	}
	if c := p.Connect(hooks.Target{}); c.Possible() {
		t.Error("the zero target is possible")
	}
}

func TestDial(t *testing.T) {
	p := mustPolicy(t, `version: 1
egress:
  allow:
    - {host: git.corp.example, addresses: [10.0.0.0/8]}
    - {host: "*.corp.example", addresses: [192.168.0.0/16]}
    - {host: other.example, addresses: [10.0.0.0/8, 10.1.0.0/16]}
    - {host: plain.example}
    - {host: static.example}
    - {cidr: 10.9.0.0/16}
    - {cidr: 0.0.0.0/0}
    - {host: host.penstock.internal, ports: [80]}
  hosts: {static.example: 10.5.5.5, plain2.example: 8.8.8.8}
`)
	ids := map[int]string{}
	for target, want := range map[string]string{
		"https://git.corp.example":       "10.0.0.0/8 192.168.0.0/16",
		"https://x.corp.example":         "192.168.0.0/16",
		"https://other.example":          "10.0.0.0/8",
		"https://plain.example":          "",
		"https://static.example":         "10.5.5.5/32",
		"https://10.9.1.1":               "10.9.0.0/16",
		"https://8.8.8.8":                "",
		"https://10.8.1.1":               "",
		"http://host.penstock.internal/": "127.0.0.1/32 ::1/128",
	} {
		for range 2 {
			v := p.Decide(req(t, target))
			if v.Action != hooks.Allow {
				t.Errorf("%s is denied: %s", target, v.Reason)
				continue
			}
			got := ""
			if v.Dial != nil {
				for _, a := range v.Dial.Addresses {
					got += a.String() + " "
				}
				if old, ok := ids[v.Dial.ID]; ok && old != got || v.Dial.ID == 0 {
					t.Errorf("%s: ID %d is %q and %q", target, v.Dial.ID, old, got)
				}
				ids[v.Dial.ID] = got
			}
			if strings.TrimSpace(got) != want {
				t.Errorf("%s: got %q, want %q", target, got, want)
			}
		}
	}
}
