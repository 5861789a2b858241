package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestAskedAbout: which hooks there are on the way of a request, and under which
// conditions; nothing about what goes to another host, or by another protocol.
func TestAskedAbout(t *testing.T) {
	f, err := Parse("p.yaml", User, []byte(`version: 1
hooks:
  - {name: all, on: [request, response, connect, request_body, response_body, websocket, session_start, session_end, dns, tool_call], exec: [/bin/cat]}
  - {name: one, on: [request], hosts: [a.example], cel: '"next"'}
  - {name: net, on: [connect], hosts: [10.0.0.0/8], cel: '"next"'}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{f})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, url string
		size        int64
		want        string
	}{
		{"POST", "https://a.example/", -1, "all dns, all connect, all request, one request, all tool_call?, all request_body?, all response, all response_body?"},
		{"POST", "https://b.example/", 7, "all dns, all connect, all request, all tool_call?, all request_body, all response, all response_body?"},
		{"GET", "http://a.example/", 0, "all dns, all connect, all request, one request, all response, all response_body?, all websocket?"},
		{"HEAD", "https://10.0.0.1/", 0, "all connect, net connect, all request, all response"},
		{"", "tcp://a.example:22", -1, "all dns, all connect"},
		{"", "tls://10.1.2.3", -1, "all connect, net connect"},
	} {
		r, err := ParseRequest(tt.url, tt.method)
		if err != nil {
			t.Fatal(err)
		}
		r.Size = tt.size
		var got []string
		for _, a := range p.AskedAbout(r) {
			s := a.Hook + " " + a.Point
			if a.If != "" {
				s += "?"
			}
			got = append(got, s)
			if h := map[string]string{"all": "p.yaml:3 exec", "one": "p.yaml:4 cel", "net": "p.yaml:5 cel"}[a.Hook]; a.Rule+" "+a.Kind != h {
				t.Errorf("%s: %s %s", a.Hook, a.Rule, a.Kind)
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", tt.method, tt.url, s, tt.want)
		}
	}
}

// TestMay: what who is asked can do at each point.
func TestMay(t *testing.T) {
	all := []Runner{&Expression{}, &Service{}, &Webhook{}, &Module{}, &Program{}, &Service{Own: true}}
	want := map[hooks.Point][3]string{ // an expression, a service in Envoy's protocol, anybody else
		hooks.PointRequest:      {"deny ask route", "deny reply", "deny ask route reply header"},
		hooks.PointResponse:     {"deny", "deny reply", "deny reply"},
		hooks.PointConnect:      {"deny ask route", "deny", "deny ask route"},
		hooks.PointRequestBody:  {"deny", "deny", "deny"},
		hooks.PointResponseBody: {"deny", "deny", "deny"},
		hooks.PointWebSocket:    {"deny", "deny", "deny"},
		hooks.PointDNS:          {"deny", "deny", "deny"},
		hooks.PointToolCall:     {"deny ask route", "deny", "deny ask route"},
	}
	for p, w := range want {
		for i, r := range all {
			h := &Hook{Asks: r}
			if got := strings.Join(h.May(p), " "); got != w[min(i, 2)] {
				t.Errorf("%s at %s: %s", r.kind(), p, got)
			}
		}
	}
	for _, p := range []hooks.Point{hooks.PointRequestBody, hooks.PointResponseBody, hooks.PointWebSocket, hooks.PointRequest} {
		h := &Hook{Asks: &Module{}, Inspect: hooks.Inspect{Change: true}}
		if got := fmt.Sprint(h.May(p)); strings.Contains(got, "body") != changeable(p) {
			t.Errorf("%s: %s", p, got)
		}
	}
}
