package policy

import (
	"strings"
	"testing"
)

// TestReroute: a hook may have a target go where a rule of its file could, and where
// the policy sends it by an upstream never directly.
func TestReroute(t *testing.T) {
	const hook = "hooks: [{name: h, on: [request], cel: '\"next\"'}]\n"
	const proxies = "upstreams: {corp: {url: 'http://proxy.corp.example:3128', except: ['*.lab.example']}, other: {url: 'http://192.0.2.9:3128'}}"
	for name, tt := range map[string]struct {
		files       map[Layer]string
		target, via string
		why         string
	}{
		"free":               {map[Layer]string{User: hook + "egress: {" + proxies + "}"}, "a.example", "corp", ""},
		"as it goes":         {map[Layer]string{User: hook}, "a.example", Direct, ""},
		"unknown":            {map[Layer]string{User: hook}, "a.example", "corp", `there is no upstream "corp"`},
		"not directly":       {map[Layer]string{User: hook + "egress: {via: corp, " + proxies + "}"}, "a.example", Direct, "the policy sends it via corp, and not directly"},
		"excepted":           {map[Layer]string{User: hook + "egress: {via: corp, " + proxies + "}"}, "a.lab.example", Direct, ""},
		"what it excepts":    {map[Layer]string{User: hook + "egress: {" + proxies + "}"}, "a.lab.example", "corp", "upstream corp excepts it"},
		"another of its own": {map[Layer]string{User: hook + "egress: {via: corp, " + proxies + "}"}, "a.example", "other", ""},
		"over its own rule":  {map[Layer]string{User: hook + "egress: {allow: [{host: a.example, via: corp}], " + proxies + "}"}, "a.example", "other", ""},
		"the host":           {map[Layer]string{User: hook + "egress: {" + proxies + "}"}, HostInternal, "corp", "is reached by no upstream"},
		"the host directly":  {map[Layer]string{User: hook + "limits: {via: [corp]}\negress: {" + proxies + "}"}, HostInternal, Direct, ""},
		"outside limits.via": {map[Layer]string{System: "limits: {via: [direct, corp]}\negress: {" + proxies + "}", User: hook}, "a.example", "other", "via other is outside limits.via at system.yaml:2 (system)"},
		"not direct":         {map[Layer]string{System: "limits: {via: [corp]}\negress: {" + proxies + "}", User: hook}, "a.example", Direct, "via direct is outside limits.via"},
		"within limits.via":  {map[Layer]string{System: "limits: {via: [direct, corp]}\negress: {" + proxies + "}", User: hook}, "a.example", "corp", ""},
		"a higher word":      {map[Layer]string{System: "egress: {via: corp, " + proxies + "}", User: hook}, "a.example", "other", "a higher layer (system) prescribes via corp"},
		"a higher rule":      {map[Layer]string{System: "egress: {allow: [{host: '*.example', via: direct}], " + proxies + "}", User: hook}, "a.example", "other", "a higher layer (system) prescribes via direct"},
		"a higher exception": {map[Layer]string{System: "egress: {via: corp, " + proxies + "}", User: hook}, "a.lab.example", "other", "a higher layer (system) prescribes via direct"},
		"a lower proxy":      {map[Layer]string{System: hook, User: "egress: {" + proxies + "}"}, "a.example", "corp", "upstream corp is of a lower layer (user) than the hook"},
	} {
		p, err := layers(t, tt.files)
		if err != nil {
			t.Fatal(name, err)
		}
		target, err := ParseTarget("https://" + tt.target + ":443")
		if err != nil {
			t.Fatal(err)
		}
		if why := p.Reroute("h", &target, tt.via); !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%s: %q", name, why)
		}
	}
	// What is no policy's hook is below all.
	p, err := layers(t, map[Layer]string{User: "egress: {via: corp, " + proxies + "}"})
	if err != nil {
		t.Fatal(err)
	}
	target, _ := ParseTarget("https://a.example")
	if why := p.Reroute("else", &target, "other"); !strings.Contains(why, "a higher layer (user)") {
		t.Errorf("in Go: %q", why)
	}
}
