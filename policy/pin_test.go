package policy

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

const pinSecret = "secrets: [{name: K, from: 'env:K', hosts: [api.example, '*.api.example', " + HostInternal + "], header: x-api-key}]\n"

func TestPin(t *testing.T) {
	p := mustPolicy(t, "version: 1\n"+pinSecret+`egress:
  allow:
    - {host: api.example, methods: [GET], pin: {secret: K, header: X-API-key}}
    - {host: "*.api.example", ports: [8443], pin: {secret: K, header: x-api-key}}
    - {host: "*", ports: ["1-65535"], protocol: [http, tcp]}
    - {host: host.penstock.internal, ports: [8080], pin: {secret: K}}
    - {host: host.penstock.internal, ports: [9090]}
`)
	round := roundTrip(t, p)
	for _, tt := range []struct {
		req, want string // "+" or "-", the deciding line, "pin" if it holds
	}{
		{"GET https://api.example/", "+5 pin"},
		{"POST https://api.example/", "+7 pin"}, // another rule allows it: the pin holds all the same
		{"GET https://api.example:8443/", "+7 pin"},
		{"GET http://api.example/", "+7 pin"}, // refused for want of confidentiality
		{"tcp://api.example:443", "-5"},
		{"tls://api.example:443", "-5"},
		{"tcp://api.example:22", "-5"},
		{"GET https://a.api.example:8443/", "+6 pin"},
		{"GET https://a.api.example/", "+7"},
		{"tcp://a.api.example:8443", "-6"},
		{"tcp://a.api.example:22", "+7"},
		{"GET https://other.example/", "+7"},
		{"GET http://host.penstock.internal:8080/", "+8 pin"},
		{"GET http://host.penstock.internal:9090/", "+9"},
	} {
		for name, p := range map[string]*Policy{"": p, "round trip": round} {
			v := p.Decide(req(t, tt.req))
			got := map[bool]string{true: "+", false: "-"}[v.Action == hooks.Allow] + v.Rule.Ref()[strings.LastIndex(v.Rule.Ref(), ":")+1:]
			if v.Pin != nil {
				got += " pin"
			}
			if got != tt.want {
				t.Errorf("%s %s: %s (%s), want %s", name, tt.req, got, v.Reason, tt.want)
			}
			if v.Action == hooks.Deny && !strings.Contains(v.Reason, "to secret K: what is in t") {
				t.Errorf("%s: %s", tt.req, v.Reason)
			}
		}
	}
	open := mustPolicy(t, "version: 1\n"+pinSecret+"egress: {default: allow, allow: [{host: api.example, methods: [GET], pin: {secret: K}}]}")
	if v := open.Decide(req(t, "POST https://api.example/")); v.Action != hooks.Allow || v.Pin == nil {
		t.Errorf("allowed by default: %+v", v)
	}
	if v := open.Decide(req(t, "tcp://api.example:443")); v.Action == hooks.Allow {
		t.Error("allowed by default, unread")
	}
	if e := p.Explain(req(t, "GET https://api.example/")); !strings.Contains(e.Reason, "secret K as its only credential") || !strings.Contains(e.Text, "pin: {secret: K") {
		t.Errorf("explanation: %+v", e)
	}
}

func TestPinNeedsItsSecret(t *testing.T) {
	for name, tt := range map[string]struct{ user, project, want string }{
		"not declared": {"", "egress: {allow: [{host: api.example, pin: {secret: K}}]}",
			"project.yaml:2:18: rule {host: api.example, protocol: https, pin: {secret: K}} pins secret K, which is not declared; declare it under secrets:"},
		"of another layer": {pinSecret, "egress: {allow: [{host: a.api.example, pin: {secret: K}}]}", ""},
		"other host":       {pinSecret, "egress: {allow: [{host: b.example, pin: {secret: K}}]}", "which user.yaml:2 does not declare for b.example"},
		"wider host":       {pinSecret, "egress: {allow: [{host: '*.example', pin: {secret: K}}]}", "which user.yaml:2 does not declare for *.example"},
		"other header":     {pinSecret, "egress: {allow: [{host: api.example, pin: {secret: K, header: api-key}}]}", "pins header Api-Key, and secret K goes in X-Api-Key (user.yaml:2)"},
		"no prefix": {"secrets: [{name: K, from: 'env:K', hosts: [a.example], header: authorization}]\n", "egress: {allow: [{host: a.example, pin: {secret: K}}]}",
			"user.yaml:2:11: secret K is pinned by project.yaml:2 and has no prefix"},
		"two ways": {pinSecret + "egress: {allow: [{host: '*.api.example', pin: {secret: K}}]}", "egress: {allow: [{host: a.api.example, pin: {secret: K, pass_query: [x]}}]}",
			"pins what user.yaml:3 pins otherwise; write one pin for both"},
		"two ways, apart":      {pinSecret + "egress: {allow: [{host: api.example, pin: {secret: K}}]}", "egress: {allow: [{host: a.api.example, pin: {secret: K, pass_query: [x]}}]}", ""},
		"two ways, ports":      {pinSecret + "egress: {allow: [{host: api.example, ports: [443], pin: {secret: K}}]}", "egress: {allow: [{host: api.example, ports: [8443], pin: {secret: K, pass_query: [x]}}]}", ""},
		"two ways, port range": {pinSecret + "egress: {allow: [{host: api.example, ports: [443], pin: {secret: K}}]}", "egress: {allow: [{host: api.example, ports: ['1-8443'], pin: {secret: K, pass_query: [x]}}]}", "otherwise"},
	} {
		_, err := layers(t, map[Layer]string{User: tt.user, Project: tt.project})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
	p, err := layers(t, map[Layer]string{User: pinSecret + "egress: {allow: [{host: api.example, pin: {secret: K}}]}", Project: "egress: {allow: [{host: '*', inspect: false}]}"})
	if err != nil {
		t.Fatal(err)
	}
	warned := false
	for _, w := range p.Warnings() {
		warned = warned || strings.Contains(w.Message, "is denied where user.yaml:3 pins a secret")
	}
	if !warned {
		t.Errorf("no warning in %v", p.Warnings())
	}
}
