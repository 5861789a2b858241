package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
)

// TestNamed: a name is named when something can go there, and only then, whichever rules
// say so; compared with what is decided at each port.
func TestNamed(t *testing.T) {
	const line = "egress:\n  default: "
	for text, want := range map[string]map[string]string{
		"deny\n  allow: [{host: a.example}, {host: '*.b.example'}]": {
			"a.example": "p.yaml:4", "x.b.example": "p.yaml:4", "b.example": "no", "x.a.example": "no", "c.example": "no",
			"A.example": "no", "": "no", "192.0.2.1": "no", "host.penstock.internal": "no", "in-addr.arpa": "no"},
		"deny\n  allow: [{host: '*'}]\n  deny: [{host: a.example}, {host: '*.b.example', ports: [80]}, {host: d.example, ports: [80, 443]}, {host: e.example, protocol: tcp}]": {
			"a.example": "no", "x.b.example": "p.yaml:4", "b.example": "p.yaml:4", "d.example": "no", "e.example": "p.yaml:4", "host.penstock.internal": "no"},
		"deny\n  allow: [{host: a.example, ports: [1000-2000]}]\n  deny: [{host: a.example, ports: [1-1499, 1501-65535]}]": {"a.example": "p.yaml:4"},
		"deny\n  allow: [{host: a.example, ports: [1000-2000]}]\n  deny: [{host: a.example, ports: [1-1499, 1500-65535]}]": {"a.example": "no"},
		"deny\n  allow: [{host: a.example, ports: [1000-2000]}]\n  deny: [{host: a.example, ports: [1-1999]}]":             {"a.example": "p.yaml:4"},
		"deny\n  allow: [{host: a.example, ports: [22], protocol: tcp}]\n  deny: [{host: a.example, methods: [PUT]}]":      {"a.example": "p.yaml:4"}, // as HTTP
		"deny\n  allow: [{host: a.example, process: {exe: /bin/a}}]":                                                       {"a.example": "p.yaml:4"},
		"deny\n  allow: [{host: a.example}]\n  deny: [{host: a.example, process: {exe: /bin/a}}]":                          {"a.example": "p.yaml:4"},
		"deny\n  allow: [{host: a.example, methods: [GET], when: 'request.path == \"/\"'}]":                                {"a.example": "p.yaml:4"},
		"deny\n  allow: [{host: host.penstock.internal, ports: [99]}]":                                                     {"host.penstock.internal": "p.yaml:4"},
		"deny\n  ask: [{host: a.example}]":     {"a.example": "p.yaml:4", "b.example": "no"},
		"ask\n  deny: [{host: '*.b.example'}]": {"a.example": "", "x.b.example": "no", "host.penstock.internal": "no"},
		"allow\n  ask: [{host: a.example}]\n  deny: [{host: b.example}, {host: c.example, ports: [1-65534]}, {host: d.example, ports: [1-65535]}, {host: e.example, paths: [/]}]": {"a.example": "", "b.example": "no", "c.example": "", "d.example": "no", "e.example": "", "host.penstock.internal": "no"},
	} {
		p := mustNamed(t, "version: 1\n"+line+text)
		for _, r := range p.Rules() {
			if r.process != nil {
				r.process.is = []hooks.Executable{{Dev: 1, Ino: 1}}
			}
		}
		for host, rule := range want {
			r, ok := p.Named(host)
			if (rule != "no") != ok || ok && (r == nil) != (rule == "") || r != nil && r.Ref() != rule {
				t.Errorf("%s: %s is %v by %v, want %s", text, host, ok, r, rule)
			}
			if !isCanonicalHost(host) {
				continue
			}
			// As a process that is known, since a rule may be about one.
			some := false
			for port := 1; port <= 65535 && !some; port++ {
				if port == 3000 {
					port = 65000
				}
				for ino := range uint64(2) {
					who := &hooks.Process{Exe: hooks.Executable{Dev: 1, Ino: ino + 1}}
					c := p.ConnectBy(hooks.Target{Host: host, Port: uint16(port)}, who)
					some = some || c.Possible()
				}
			}
			if some != ok {
				t.Errorf("%s: something can go to %s is %v, and named it is %v", text, host, some, ok)
			}
		}
	}
	// What nobody is asked about because of a limit is not open either.
	p, err := layers(t, map[Layer]string{System: "limits: {egress: ['*.a.example']}", User: "egress: {default: ask}"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Named("x.a.example"); !ok {
		t.Error("within the limits nothing is open")
	}
	if _, ok := p.Named("x.b.example"); ok {
		t.Error("what is outside of the limits is open")
	}
}

func mustNamed(t *testing.T, text string) *Policy {
	t.Helper()
	f, err := Parse("p.yaml", User, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{f})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHooksAboutNames: what a hook about names can't have is said when it is read, and
// what is not read does not concern it.
func TestHooksAboutNames(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"{name: a, on: [dns], grpc: 'https://a.example'}", "who is asked by grpc can't be asked at dns"},
		{"{name: a, on: [request, dns], grpc: 'https://a.example'}", "who is asked by grpc can't be asked at dns"},
		{"{name: a, on: [tool_call], grpc: 'https://a.example'}", "who is asked by grpc can't be asked at tool_call"},
		{"{name: a, on: [dns], cel: b, hosts: [10.0.0.0/8]}", "hosts has address ranges only"},
		{"{name: a, on: [dns], cel: b, body: stream}", "body has no meaning"},
	} {
		if _, err := Parse("f", User, []byte("version: 1\nhooks: ["+tt.text+"]")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
	for on, warns := range map[string]bool{"dns": false, "dns, session_start": false, "request, dns": true} {
		p, err := layers(t, map[Layer]string{User: "hooks: [{name: h, on: [" + on + "], hosts: [10.0.0.0/8, a.example], cel: b}]\negress: {allow: [{host: a.example, inspect: false}]}"})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(fmt.Sprint(p.Warnings()), "unread"); got != warns {
			t.Errorf("%s: warns of what is unread: %t", on, got)
		}
	}
	for rule, warns := range map[string]bool{"": true, ", methods: [GET]": false, ", jsonrpc: {methods: ['*']}": false, ", graphql: {operations: [query]}": false, ", inspect: false": false} {
		p, err := layers(t, map[Layer]string{User: "hooks: [{name: h, on: [tool_call], hosts: [a.example], cel: b}]\negress: {allow: [{host: a.example" + rule + "}, {host: b.example}]}"})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(fmt.Sprint(p.Warnings()), "does not see what tools are called"); got != map[bool]int{true: 1}[warns] {
			t.Errorf("%s: warns %d times of calls of tools", rule, got)
		}
	}
	// What is said is checked where expressions are.
	f, err := Parse("f", User, []byte("version: 1\nhooks:\n  - {name: h, on: [dns], cel: 'request.host == \"a\" ? \"ask: why\" : \"next\"'}"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{f})
	if err == nil {
		_, err = p.CompileConditions(cel.Language{})
	}
	if err == nil || !strings.Contains(err.Error(), "f:3") || !strings.Contains(err.Error(), "where that can't be") {
		t.Errorf("asking about a name: %v", err)
	}
}
