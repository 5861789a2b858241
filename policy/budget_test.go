package policy

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func TestBudget(t *testing.T) {
	p := mustPolicy(t, `version: 1
egress:
  allow:
    - {host: api.example, budget: {requests: 5}}
    - {host: api.example, methods: [POST], paths: ["/v1/**"], budget: {bytes_out: 10MiB, bytes_in: 1GiB, per: hour, rate: 5/s}}
    - {host: "*", ports: ["1-65535"], protocol: [http, https, tcp]}
    - {host: "*.example", inspect: false, budget: {rate: 100/h}}
  deny:
    - {host: api.example, paths: [/no], protocol: https, ports: [443]}
`)
	for _, tt := range []struct{ req, want string }{ // lines of the budgets
		{"GET https://api.example/", "4 7"},
		{"POST https://api.example/v1/x", "4 5 7"},
		{"POST https://api.example/v2", "4 7"},
		{"POST http://api.example/v1/", "4 5"},
		{"GET https://api.example:8443/", ""},
		{"GET https://other.test/", ""},
		{"tcp://api.example:80", "4 5"}, // it could hold any of them
		{"tcp://api.example:22", ""},
		{"tcp://www.example:443", "7"},
		{"GET https://www.example/", "7"}, // TLS unread may hold it, so the rule allows it
		{"GET https://api.example/no", ""},
	} {
		for name, p := range map[string]*Policy{"": p, "round trip": roundTrip(t, p)} {
			v := p.Decide(req(t, tt.req))
			var got []string
			for _, b := range v.Budgets {
				got = append(got, b.Ref[strings.LastIndex(b.Ref, ":")+1:])
			}
			if strings.Join(got, " ") != tt.want || (v.Action == hooks.Deny) != strings.HasSuffix(tt.req, "/no") {
				t.Errorf("%s %s: %s %v, want %s", name, tt.req, v.Action, got, tt.want)
			}
		}
	}
	if s := p.Rules()[1].budget.String(); s != "{bytes_out: 10MiB, bytes_in: 1GiB, per: hour, rate: 5/s}" {
		t.Error(s)
	}
	by := resolved(t, mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, process: {exe: /usr/bin/git}, budget: {requests: 5}}, {host: a.example}]}"))
	for _, exe := range []hooks.Executable{gitFile, curlFile} {
		r := req(t, "https://a.example/")
		r.Process = &hooks.Process{Exe: exe}
		if v := by.Decide(r); v.Action != hooks.Allow || (len(v.Budgets) == 1) != (exe == gitFile) {
			t.Errorf("%s: %v", exe.Path, v.Budgets)
		}
	}
	// The usual case costs nothing.
	one := mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, budget: {requests: 5}}, {host: b.example}]}")
	for _, u := range []string{"https://a.example/", "https://b.example/"} {
		r := req(t, u)
		if n := testing.AllocsPerRun(100, func() { one.Decide(r) }); n > 0 {
			t.Errorf("%s: %v allocations", u, n)
		}
	}
}
