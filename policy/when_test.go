package policy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
)

// withCEL parses a policy and compiles its conditions.
func withCEL(t testing.TB, egress string) *Policy {
	t.Helper()
	p, err := mustPolicy(t, "version: 1\negress: {"+egress+"}").CompileConditions(cel.Language{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asked is a request with a size and header fields.
func asked(t testing.TB, s string, size int64, header ...string) *hooks.Request {
	r := req(t, s)
	r.Size, r.Header = size, http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestWhen(t *testing.T) {
	const when = `when: 'request.path.startsWith("/x/") && request.size < 1000'`
	for _, tt := range []struct {
		r           *hooks.Request
		allow, deny hooks.Action // by an allow, or by a deny beside an allow
	}{
		{asked(t, "PUT https://a.example/x/1", 10), hooks.Allow, hooks.Deny},
		{asked(t, "PUT https://a.example/x/1", 1000), hooks.Deny, hooks.Allow},
		{asked(t, "PUT https://a.example/y/1", 10), hooks.Deny, hooks.Allow},
		// The length is not known: neither answer lets it out.
		{asked(t, "PUT https://a.example/x/1", -1), hooks.Deny, hooks.Deny},
		// It does not matter where the path decides.
		{asked(t, "PUT https://a.example/y/1", -1), hooks.Deny, hooks.Allow},
		// One reading of the path is outside, one is inside.
		{asked(t, "PUT https://a.example/x%2fy", 10), hooks.Deny, hooks.Deny},
		{asked(t, "PUT https://a.example//x/y", 10), hooks.Deny, hooks.Deny},
	} {
		if got := withCEL(t, "allow: [{host: a.example, "+when+"}]").Decide(tt.r); got.Action != tt.allow {
			t.Errorf("allow of %s (size %d): %s: %s", describe(tt.r), tt.r.Size, got.Action, got.Reason)
		}
		if got := withCEL(t, "allow: [{host: a.example}], deny: [{host: a.example, "+when+"}]").Decide(tt.r); got.Action != tt.deny {
			t.Errorf("deny of %s (size %d): %s: %s", describe(tt.r), tt.r.Size, got.Action, got.Reason)
		}
	}
}

// TestWhenUndecided: an error of the condition is a deny, and the reason says so.
func TestWhenUndecided(t *testing.T) {
	r := asked(t, "POST https://a.example/x", -1, "x-evil", "\x1b[31m")
	dear := strings.Repeat("a", 4000)
	for _, when := range []string{
		"request.size < 10", `request.headers["x-none"] == "a"`, "int(request.headers[\"x-evil\"]) == 1", "request.port / (request.port - 443) == 1",
		`request.headers[request.headers["x-evil"]] == ""`,
	} {
		v := withCEL(t, "allow: [{host: a.example, when: '"+when+"'}]").Decide(r)
		if v.Action != hooks.Deny || v.Rule != nil || !strings.Contains(v.Reason, "its when can't be decided: ") || !isPrintableASCII(v.Reason) {
			t.Errorf("allow when %s: %+v", when, v)
		}
		p := withCEL(t, "allow: [{host: a.example}], deny: [{host: a.example, when: '"+when+"'}]")
		v = p.Decide(r)
		if v.Action != hooks.Deny || v.Rule == nil || !strings.Contains(v.Reason, "whose when can't be decided: ") || !isPrintableASCII(v.Reason) {
			t.Errorf("deny when %s: %+v", when, v)
		}
		if e := p.Explain(r); e.Undecided == "" {
			t.Errorf("explain does not say why %s can't be decided", when)
		}
	}
	// The limit of cost.
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 200), ",") + "]"
	r = asked(t, "https://a.example/"+dear[:1000], 0)
	costly := list + ".exists(a, " + list + `.exists(b, request.path.contains("b")))`
	if v := withCEL(t, "allow: [{host: a.example, when: '"+costly+"'}]").Decide(r); v.Action != hooks.Deny || !strings.Contains(v.Reason, "costs more") {
		t.Errorf("an allow that costs too much: %+v", v)
	}
	if v := withCEL(t, "allow: [{host: a.example}], deny: [{host: a.example, when: '"+costly+"'}]").Decide(r); v.Action != hooks.Deny || !strings.Contains(v.Reason, "costs more") {
		t.Errorf("a deny that costs too much: %+v", v)
	}
}

// TestWhenUnseen: where there is no request to look at, such a deny matches and
// such an allow does not.
func TestWhenUnseen(t *testing.T) {
	p := withCEL(t, "default: allow, deny: [{host: a.example, when: 'false'}]")
	for _, s := range []string{"tcp://a.example:22", "tls://a.example"} {
		if v := p.Decide(req(t, s)); v.Action != hooks.Deny || !strings.Contains(v.Reason, "can't be seen") {
			t.Errorf("%s: %+v", s, v)
		}
	}
	if c := p.Connect(req(t, "https://a.example/").Target); !c.HTTPS || c.PassThrough != nil || c.TCP.Action == hooks.Allow {
		t.Errorf("before the first byte: %+v", c)
	}
	p = withCEL(t, "allow: [{host: a.example, when: 'true'}]")
	for _, s := range []string{"tcp://a.example:443", "tls://a.example"} {
		if v := p.Decide(req(t, s)); v.Action == hooks.Allow {
			t.Errorf("%s: %+v", s, v)
		}
	}
	if c := p.Connect(req(t, "https://a.example/").Target); !c.HTTPS || c.Raw || c.PassThrough != nil {
		t.Errorf("before the first byte: %+v", c)
	}
	for _, rule := range []string{"inspect: false", "protocol: tls", "protocol: tcp, ports: [22]", "protocol: [https, tcp], ports: [443]"} {
		_, err := Parse("f", User, []byte("version: 1\negress: {allow: [{host: a.example, "+rule+", when: 'true'}]}"))
		if err == nil || !strings.Contains(err.Error(), "f:2:") || !strings.Contains(err.Error(), "when can't be seen") || !strings.Contains(err.Error(), "remove when") {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

// TestWhenNotCompiled: a condition that nobody compiled lets nothing out, also
// after a policy has travelled.
func TestWhenNotCompiled(t *testing.T) {
	r := asked(t, "https://a.example/", 0)
	for name, prepare := range map[string]func(*Policy) *Policy{
		"as parsed": func(p *Policy) *Policy { return p },
		"travelled": func(p *Policy) *Policy {
			c, err := p.CompileConditions(cel.Language{})
			if err != nil {
				t.Fatal(err)
			}
			return roundTrip(t, c)
		},
	} {
		allow := prepare(mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, when: 'true'}]}"))
		if v := allow.Decide(r); v.Action == hooks.Allow || !strings.Contains(v.Reason, "nobody has compiled it") {
			t.Errorf("%s: an allow says %+v", name, v)
		}
		deny := prepare(mustPolicy(t, "version: 1\negress: {allow: [{host: a.example}], deny: [{host: a.example, when: 'false'}]}"))
		if v := deny.Decide(r); v.Action == hooks.Allow || !strings.Contains(v.Reason, "nobody has compiled it") {
			t.Errorf("%s: a deny says %+v", name, v)
		}
		if p, err := deny.CompileConditions(nil); err == nil || p != nil {
			t.Errorf("%s: no language is a language", name)
		}
	}
}

// TestWhenErrors name the file, the line of the expression and what to write.
func TestWhenErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"version: 1\negress:\n  allow:\n    - host: a.example\n      when: request.pth == \"/\"\n", `f:5:13: when: request has no field "pth" (line 1, column 9 of the expression); it has headers, `},
		{"version: 1\negress:\n  deny:\n    - host: a.example\n      when: |\n        true &&\n        request.port == \"1\"\n", `f:7:1: when: == is not there for int and string (line 2, column 14 of the expression); compare`},
		{"version: 1\negress: {allow: [{host: a.example, when: 'request.path'}]}", "f:2:42: when: the expression is of type string, not bool; compare something"},
		{"version: 1\negress: {allow: [{host: a.example, when: \"'\\u202e\"}]}", "f:2:42: when: the text in quotes does not end"},
	} {
		f, err := Parse("f", User, []byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		for name, check := range map[string]func() error{
			"file":   func() error { return f.CheckConditions(cel.Language{}) },
			"policy": func() error { p, _ := New([]*File{f}); _, err := p.CompileConditions(cel.Language{}); return err },
		} {
			err := check()
			var list *ErrorList
			if !errors.As(err, &list) || !strings.Contains(err.Error(), tt.want) || !isPrintableASCII(err.Error()) {
				t.Errorf("%s: %v\nwant %s", name, err, tt.want)
			}
		}
	}
}

// TestWhenForged: what travels is checked again, and no caller names another
// file by the place of a condition.
func TestWhenForged(t *testing.T) {
	b, err := json.Marshal(withCEL(t, "allow: [{host: a.example, when: 'true'}]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`"text":"true"`, `"text":""`}, {`"text":"true"`, `"text":"` + strings.Repeat("a", 5000) + `"`},
		{`"text":"true"`, `"text":"true","from":{"file":"/etc/penstock/policy.yaml"}`}, {`"line":2`, `"line":-1`},
	} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if c[1] == `"line":-1` {
			forged = strings.Replace(string(b), `"when":{"text":"true","line":2`, `"when":{"text":"true","line":-1`, 1)
		}
		if forged == string(b) {
			t.Fatalf("nothing to forge in %s", b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%.60s is believed", c[1])
		}
	}
	var p Policy
	if err := json.Unmarshal([]byte(strings.Replace(string(b), `"text":"true"`, `"text":"nonsense"`, 1)), &p); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CompileConditions(cel.Language{}); err == nil || !strings.Contains(err.Error(), "p.yaml:2:") {
		t.Errorf("nonsense compiles: %v", err)
	}
}

// TestWhenExplain says why a rule with a condition does not match.
func TestWhenExplain(t *testing.T) {
	p := withCEL(t, "allow: [{host: a.example, methods: [PUT], when: 'request.size < 10'}]")
	for _, tt := range []struct {
		r    *hooks.Request
		want string
	}{
		{asked(t, "PUT https://a.example/", 10), "its when is false"},
		{asked(t, "PUT https://a.example/", -1), "its when can't be decided: request.size is not known"},
		{asked(t, "GET https://a.example/", 1), "it is about PUT, not GET"},
	} {
		e := p.Explain(tt.r)
		if e.Action != "deny" || len(e.Near) != 1 || !strings.Contains(e.Near[0].Why, tt.want) || !strings.Contains(e.Reason, tt.want) {
			t.Errorf("%s: %+v, want %s", describe(tt.r), e, tt.want)
		}
	}
}

// BenchmarkDecideWhen is what a condition adds.
func BenchmarkDecideWhen(b *testing.B) {
	p := withCEL(b, `allow: [{host: a.example, when: 'request.path.startsWith("/x/") && request.size < 1000000'}]`)
	r := asked(b, "PUT https://a.example/x/1", 10)
	b.ReportAllocs()
	for b.Loop() {
		if p.Decide(r).Action != hooks.Allow {
			b.Fatal("denied")
		}
	}
}
