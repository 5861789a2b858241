package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// mustPolicy compiles one file of the user's layer and flags.
func mustPolicy(t testing.TB, text string, inline ...Inline) *Policy {
	t.Helper()
	var files []*File
	if text != "" {
		f, err := Parse("p.yaml", User, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := New(files, inline...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// req reads "METHOD URL" or a target.
func req(t testing.TB, s string) *hooks.Request {
	t.Helper()
	method, target, ok := strings.Cut(s, " ")
	if !ok {
		method, target = "", s
	}
	r, err := ParseRequest(target, method)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const example = `version: 1
egress:
  default: deny
  allow:
    - host: api.anthropic.com
    - host: "*.github.com"
      methods: [GET, HEAD]
      paths: ["/my-org/**"]
    - {host: db.corp.example, ports: [5432], protocol: tcp}
    - {host: pinned.example, inspect: false}
    - {host: half.example, inspect: false}
    - {cidr: 10.20.0.0/16, ports: [443]}
    - {cidr: "2001:db8::/32"}
    - {host: git.corp.example, addresses: [10.0.0.0/8]}
    - {host: "*.wide.example", ports: ["8000-8099", 9000]}
    - {host: host.penstock.internal, ports: [3000]}
    - {host: "*.penstock.internal"}
  deny:
    - host: gist.github.com
    - {host: half.example, paths: ["/admin/**"]}
    - {host: api.anthropic.com, paths: ["/v1/files/**"], methods: [DELETE]}
  hosts: {git.corp.example: 10.1.2.3}
`

func TestDecide(t *testing.T) {
	p := mustPolicy(t, example)
	round := roundTrip(t, p)
	for _, tt := range []struct {
		req  string
		want string // line of the rule, "default", with - for deny
	}{
		{"https://api.anthropic.com/v1/messages", "+5"},
		{"http://api.anthropic.com/", "+5"},
		{"https://api.anthropic.com:8443/", "-default"},
		{"http://api.anthropic.com:443/", "-default"},
		{"https://api.anthropic.com:80/", "-default"},
		{"https://API.Anthropic.com./", "+5"},
		{"https://evilapi.anthropic.com/", "-default"},
		{"https://api.anthropic.com.evil/", "-default"},
		{"tcp://api.anthropic.com:443", "-21"},
		{"DELETE https://api.anthropic.com/v1/files/x", "-21"},
		{"DELETE https://api.anthropic.com/v1//files/x", "-21"},
		{"DELETE https://api.anthropic.com/v1/files%2Fx", "-21"},
		{"DELETE https://api.anthropic.com/v1/%66iles/x", "-21"},
		{"DELETE https://api.anthropic.com/v1/files;a=b/x", "-21"},
		{"DELETE https://api.anthropic.com/v2/../v1/files/x", "-21"},
		{"GET https://api.anthropic.com/v1/files/x", "+5"},
		{"GET https://github.com/my-org/x", "-default"},
		{"GET https://api.github.com/my-org/x", "+6"},
		{"GET https://api.github.com/my-org", "+6"},
		{"GET https://a.b.github.com/my-org/x/y", "+6"},
		{"GET https://api.github.com/my-organisation", "-default"},
		{"GET https://api.github.com/my-org/../other", "-default"},
		{"GET https://api.github.com/other/%2e%2e/my-org/x", "+6"},
		{"POST https://api.github.com/my-org/x", "-default"},
		{"GET https://gist.github.com/my-org/x", "-19"},
		{"GET https://evilgithub.com/my-org/x", "-default"},
		{"tcp://gist.github.com:22", "-19"},
		{"tcp://db.corp.example:5432", "+9"},
		{"https://db.corp.example:5432/", "+9"},
		{"tcp://db.corp.example:5433", "-default"},
		{"tls://pinned.example", "+10"},
		{"https://pinned.example/", "+10"},
		{"http://pinned.example/", "-default"},
		{"tls://half.example", "-20"},
		{"https://half.example/", "+11"},
		{"https://half.example/admin/x", "-20"},
		{"https://10.20.3.4/", "+12"},
		{"https://[::ffff:10.20.3.4]/", "+12"},
		{"https://10.21.3.4/", "-default"},
		{"http://10.20.3.4/", "-default"},
		{"https://[2001:db8::1]/", "+13"},
		{"https://[2001:db9::1]/", "-default"},
		{"https://git.corp.example/", "+14"},
		{"https://x.wide.example:8000/", "+15"},
		{"https://x.wide.example:8099/", "+15"},
		{"https://x.wide.example:8100/", "-default"},
		{"https://x.wide.example:9000/", "+15"},
		{"http://host.penstock.internal:3000/", "+16"},
		{"http://host.penstock.internal:3001/", "-default"},
		{"https://host.penstock.internal/", "-default"},
	} {
		for name, p := range map[string]*Policy{"parsed": p, "round trip": round} {
			if got := verdictText(p.Decide(req(t, tt.req))); got != tt.want {
				t.Errorf("%s: %s: got %s, want %s", name, tt.req, got, tt.want)
			}
		}
	}
}

func verdictText(v Verdict) string {
	s := "-"
	if v.Action == hooks.Allow {
		s = "+"
	}
	if v.Rule == nil {
		return s + "default"
	}
	_, line, _ := strings.Cut(v.Rule.Ref(), ":")
	return s + line
}

func roundTrip(t testing.TB, p *Policy) *Policy {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Policy
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if p.Hash() != q.Hash() {
		t.Errorf("hash changes in a round trip")
	}
	return &q
}

// TestProtocolsContain: who allows the outer protocol allows the inner; who
// denies the inner denies the outer, in which it could hide.
func TestProtocolsContain(t *testing.T) {
	requests := []string{"http://a.example:443/", "https://a.example:443/", "tls://a.example:443", "tcp://a.example:443"}
	for _, tt := range []struct{ protocol, allows, denies string }{
		{"http", "+---", "-++-"},
		{"https", "-+--", "+---"},
		{"tls", "-++-", "++--"},
		{"tcp", "++++", "+++-"},
		{"[http, https]", "++--", "----"},
		{"[https, tls]", "-++-", "+---"},
	} {
		rule := "[{host: a.example, ports: [443], protocol: " + tt.protocol + "}]"
		allow := mustPolicy(t, "version: 1\negress: {allow: "+rule+"}\n")
		deny := mustPolicy(t, "version: 1\negress: {default: allow, deny: "+rule+"}\n")
		got, gotDeny := "", ""
		for _, r := range requests {
			got += verdictText(allow.Decide(req(t, r)))[:1]
			gotDeny += verdictText(deny.Decide(req(t, r)))[:1]
		}
		if got != tt.allows || gotDeny != tt.denies {
			t.Errorf("%s: allows %s, want %s; deny leaves %s, want %s", tt.protocol, got, tt.allows, gotDeny, tt.denies)
		}
	}
}
