package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestPAC: a file chooses among proxies of its layer or above, and is a way like any
// other for what binds lower layers.
func TestPAC(t *testing.T) {
	const two = "upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: /p.pac, among: [corp, direct]}}"
	for _, c := range []struct{ high, low, want string }{
		{"", "egress: {via: auto, " + two + "}", ""},
		{"egress: {" + two + "}", "egress: {allow: [{host: a.example, via: auto}]}", ""},
		{"egress: {upstreams: {corp: {url: 'http://p.example:1'}}}", "egress: {upstreams: {auto: {pac: /p.pac, among: [corp]}}}", ""},
		{"limits: {via: [auto]}\negress: {via: auto, " + two + "}", "egress: {allow: [{host: a.example}]}", ""},
		// What a higher layer says of ways can't be gone round by a file.
		{"limits: {via: [corp]}\negress: {via: corp, upstreams: {corp: {url: 'http://p.example:1'}}}", "egress: {allow: [{host: a.example, via: auto}], upstreams: {auto: {pac: /p.pac, among: [corp, direct]}}}", "auto"},
		{"egress: {via: corp, upstreams: {corp: {url: 'http://p.example:1'}}}", "egress: {via: auto, upstreams: {auto: {pac: /p.pac, among: [corp, direct]}}}", "via auto goes round via corp"},
		{"egress: {" + two + "}", "egress: {upstreams: {auto: {pac: /other.pac, among: [corp, direct]}}}", "upstream auto is here and at"},
		{"egress: {upstreams: {auto: {pac: /p.pac, among: [corp]}}}", "egress: {upstreams: {corp: {url: 'http://p.example:1'}}}", `there is no upstream "corp" in this layer or above it`},
		{"", "egress: {upstreams: {auto: {pac: /p.pac, among: [corp]}}}", `there is no upstream "corp"`},
		{"", "egress: {upstreams: {auto: {pac: /p.pac, among: [more]}, more: {pac: /p.pac, among: [direct]}}}", "more has a pac itself"},
		{"", "egress: {upstreams: {auto: {pac: /p.pac, among: [auto]}}}", "has itself in among"},
		// By a URL: of https, at a host that is allowed to be dialled, with its own addresses.
		{"", "egress: {via: auto, upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: 'https://wpad.example/p.pac', refresh: 10m, among: [corp], addresses: [10.0.0.0/8]}}}", ""},
		{"limits: {egress: ['*.example', 10.0.0.0/8]}", "egress: {upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: 'https://wpad.example/p.pac', among: [corp], addresses: [10.0.0.0/8]}}}", ""},
		{"limits: {egress: ['*.example']}", "egress: {upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: 'https://wpad.other/p.pac', among: [corp]}}}", "upstream auto (https://wpad.other:443/p.pac) is outside limits.egress"},
		{"limits: {egress: ['*.example']}", "egress: {upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: 'https://wpad.example/p.pac', among: [corp], addresses: [10.0.0.0/8]}}}", "addresses 10.0.0.0/8 of upstream auto is outside limits.egress"},
		{"egress: {deny: [{host: wpad.example}]}", "egress: {upstreams: {corp: {url: 'http://p.example:1'}, auto: {pac: 'https://wpad.example/p.pac', among: [corp]}}}", "upstream auto is at wpad.example:443, which"},
		{"", "egress: {upstreams: {auto: {pac: 'http://wpad.example/p.pac', among: [direct]}}}", "is not one of https; write the path of a file, or a URL of https"},
		{"", "egress: {upstreams: {auto: {pac: 'file:///p.pac', among: [direct]}}}", "write the path of a file"},
		{"", "egress: {upstreams: {auto: {pac: 'https://me:secret@wpad.example/p.pac', among: [direct]}}}", "can't be asked"},
		{"", "egress: {upstreams: {auto: {pac: 'https://host.penstock.internal/p.pac', among: [direct]}}}", "the host's loopback"},
		{"", "egress: {upstreams: {auto: {pac: 'https://wpad.example/p.pac', refresh: 100ms, among: [direct]}}}", "refresh is not from 1s to 24h"},
		{"", "egress: {upstreams: {auto: {pac: 'https://wpad.example/p.pac', refresh: 25h, among: [direct]}}}", "refresh is not from 1s to 24h"},
		{"", "egress: {upstreams: {auto: {pac: /p.pac, refresh: 1h, among: [direct]}}}", "has refresh and a pac of this machine"},
		{"", "egress: {upstreams: {auto: {pac: /p.pac, addresses: [10.0.0.0/8], among: [direct]}}}", "has a pac and keys of a proxy"},
		{"", "egress: {upstreams: {corp: {url: 'http://p.example:1', refresh: 1h}}}", "refresh and no pac"},
		{"", "egress: {upstreams: {auto: {pac: '/p*.pac', among: [direct]}}}", "has a wildcard"},
	} {
		var files []*File
		err := error(nil)
		for layer, doc := range map[Layer]string{System: c.high, User: c.low} {
			f, e := Parse("p.yaml", layer, []byte("version: 1\n"+doc+"\n"))
			if e != nil {
				err = e
				continue
			}
			files = append(files, f)
		}
		var p *Policy
		if err == nil {
			if files[0].Layer > files[1].Layer {
				files[0], files[1] = files[1], files[0]
			}
			p, err = New(files)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s\n%s: %v, want %q", c.high, c.low, err, c.want)
		}
		if c.want == "" && err == nil && (p.Proxy("auto") == nil || !p.Proxy("auto").IsPAC() || p.Proxy("corp").IsPAC()) {
			t.Errorf("%s: %+v", c.low, p.Upstreams())
		}
	}
}

// TestPACSource: what is dialled for a file is its URL's host, at public addresses and
// those that the policy gives it; and it travels.
func TestPACSource(t *testing.T) {
	f, err := Parse("p.yaml", User, []byte(`version: 1
egress:
  hosts: {fixed.example: 10.1.2.3}
  upstreams:
    file: {pac: /p.pac, among: [direct]}
    url: {pac: "https://wpad.example:8443/p.pac?a=b", among: [direct], refresh: 10m}
    inner: {pac: "https://WPAD.example", among: [direct], addresses: [10.9.0.0/16]}
    fixed: {pac: "https://fixed.example/p", among: [direct]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{f})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Policy
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Policy{p, &q} {
		if u := p.Proxy("file"); u.PACSource() != nil || u.PAC != "/p.pac" {
			t.Errorf("%+v", u)
		}
		for name, want := range map[string]string{
			"url": "https://wpad.example:8443/p.pac?a=b wpad.example:8443 10m0s []", "inner": "https://wpad.example:443/ wpad.example:443 1h0m0s [10.9.0.0/16]",
			"fixed": "https://fixed.example:443/p fixed.example:443 1h0m0s [10.1.2.3/32]",
		} {
			u := p.Proxy(name)
			at := u.PACSource()
			var addresses []netip.Prefix
			if at.Dial != nil {
				addresses = at.Dial.Addresses
			}
			if got := fmt.Sprint(u.PAC, " ", at.Target.String(), " ", u.RefreshEvery(), " ", addresses); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		// The second fence knows it, and no rule allows it.
		if r := fmt.Sprint(p.Reach()); !strings.Contains(r, "{10.9.0.0/16 443 443}") {
			t.Error(r)
		}
	}
}
