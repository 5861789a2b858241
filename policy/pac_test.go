package policy

import (
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
