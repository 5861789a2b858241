package policy

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

const twoProxies = "upstreams: {corp: {url: 'http://proxy.corp.example:3128', except: ['*.lab.example', 10.9.0.0/16]}, other: {url: 'socks5://192.0.2.9:1080'}}"

func routeOf(p *Policy, target string) string {
	t, err := ParseTarget("https://" + target)
	if err != nil {
		return err.Error()
	}
	u := p.Route(&t)
	if u == nil {
		return Direct
	}
	return u.Name
}

func TestRoute(t *testing.T) {
	p, err := layers(t, map[Layer]string{
		System: `egress: {` + twoProxies + `, allow: [{host: "*.corp.example", methods: [GET], via: corp}, {host: x.corp.example, via: direct}, {cidr: 10.0.0.0/8, via: corp}, {cidr: 10.1.0.0/16, via: other}]}`,
		User:   `egress: {via: other, allow: [{host: "*", via: other}, {host: deep.a.example}, {cidr: 192.0.2.0/24, via: other}]}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"a.corp.example":         "corp",
		"a.corp.example:8443":    "corp", // whatever is asked of it
		"b.a.corp.example":       "corp",
		"corp.example":           "other",
		"x.corp.example":         Direct, // more specific
		"deep.a.example":         "other",
		"y.lab.example":          "other", // corp's exceptions are corp's
		"10.0.0.1":               "corp",
		"10.1.0.1":               "other",
		"10.9.0.1":               Direct,
		"192.0.2.1":              "other",
		"[2001:db8::1]":          "other",
		"host.penstock.internal": Direct,
	} {
		if got := routeOf(p, target); got != want {
			t.Errorf("%s goes via %s, want %s", target, got, want)
		}
	}
	// It travels.
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Policy
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"a.corp.example", "x.corp.example", "10.1.0.1", "10.9.0.1", "c.example"} {
		if a, b := routeOf(p, target), routeOf(&q, target); a != b {
			t.Errorf("%s: %s, after JSON %s", target, a, b)
		}
	}
}

// TestRouteLayer: the word of a higher layer counts, however specific a lower
// one's is. Load refuses such a lower one; this is for who comes past it.
func TestRouteLayer(t *testing.T) {
	corp, other := &Upstream{Name: "corp"}, &Upstream{Name: "other"}
	var x routes
	x.add(&Rule{Source: Source{Layer: System}, host: hostPattern{"a.example", true}}, corp)
	x.add(&Rule{Source: Source{Layer: User}, host: hostPattern{"x.a.example", false}}, other)
	x.add(&Rule{Source: Source{Layer: System}, cidr: netip.MustParsePrefix("10.0.0.0/8")}, corp)
	x.add(&Rule{Source: Source{Layer: User}, cidr: netip.MustParsePrefix("10.1.0.0/16")}, other)
	for _, target := range []hooks.Target{{Host: "x.a.example", Port: 1}, {Addr: netip.MustParseAddr("10.1.0.1"), Port: 1}} {
		if got := x.find(&target); got != corp {
			t.Errorf("%s goes via %s", target, got.Name)
		}
	}
}

// TestRouteOrder: neither the order of rules nor a rule that says nothing of the
// way changes it, and no route makes a verdict.
func TestRouteOrder(t *testing.T) {
	rules := []string{`{host: "*.a.example", via: corp}`, `{host: x.a.example, via: other}`, `{host: "*"}`, `{host: x.a.example, ports: [8443]}`}
	for i := range rules {
		turned := append(append([]string{}, rules[i:]...), rules[:i]...)
		p := mustPolicy(t, "version: 1\negress: {"+twoProxies+", allow: ["+strings.Join(turned, ", ")+"]}")
		if a, b := routeOf(p, "x.a.example"), routeOf(p, "y.a.example"); a != "other" || b != "corp" {
			t.Errorf("%v: %s, %s", turned, a, b)
		}
	}
	p := mustPolicy(t, "version: 1\negress: {via: corp, "+twoProxies+"}")
	v := p.Decide(&hooks.Request{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "y.lab.example", Port: 443}, Method: "GET", Path: "/"})
	if v.Action != hooks.Deny {
		t.Error("an exception of an upstream allows")
	}
}

// TestRouteRound: what a higher layer says about the way holds.
func TestRouteRound(t *testing.T) {
	for _, c := range []struct {
		name, system, user, want string
	}{
		{"default", "egress: {via: corp, " + twoProxies + "}", "egress: {via: direct}", "user.yaml:2:15: via direct goes round via corp, which system.yaml:2 prescribes"},
		{"rule round the default", "egress: {via: corp, " + twoProxies + "}", "egress: {allow: [{host: a.example, via: direct}]}", "user.yaml:2:18: via direct goes round via corp, which system.yaml:2 prescribes"},
		{"rule by another", "egress: {via: corp, " + twoProxies + "}", "egress: {allow: [{host: a.example, via: other}]}", "goes round via corp"},
		{"the same", "egress: {via: corp, " + twoProxies + "}", "egress: {via: corp, allow: [{host: a.example, via: corp}]}", ""},
		{"rule round a rule", "egress: {" + twoProxies + ", allow: [{host: '*.a.example', via: corp}]}", "egress: {allow: [{host: x.a.example, ports: [8443], via: direct}]}", "user.yaml:2:18: via direct goes round via corp, which system.yaml:2"},
		{"range in a range", "egress: {" + twoProxies + ", allow: [{cidr: 10.0.0.0/8, via: corp}]}", "egress: {allow: [{cidr: 10.1.0.0/16, via: direct}]}", "goes round"},
		{"exception of the higher layer", "egress: {via: corp, " + twoProxies + ", allow: [{host: '*.a.example', via: direct}]}", "egress: {allow: [{host: x.a.example, via: direct}]}", ""},
		{"limit", "egress: {" + twoProxies + "}\nlimits: {via: [corp]}", "egress: {allow: [{host: a.example, via: other}]}", "rule {host: a.example, via: other} goes via other, which is outside limits.via; the limit at system.yaml:3"},
		{"limit, no way said", "egress: {" + twoProxies + "}\nlimits: {via: [corp]}", "egress: {allow: [{host: a.example}]}", "goes via direct, which is outside limits.via"},
		{"limit, way of above", "egress: {via: corp, " + twoProxies + "}\nlimits: {via: [corp]}", "egress: {allow: [{host: a.example}, {host: host.penstock.internal, ports: [1]}]}", ""},
		{"limit, rule of above", "egress: {" + twoProxies + ", allow: [{host: '*.a.example', via: corp}]}\nlimits: {via: [corp]}", "egress: {allow: [{host: x.a.example}]}", ""},
		{"limit, own proxy", "egress: {via: corp, " + twoProxies + "}\nlimits: {via: [corp]}", "egress: {upstreams: {mine: {url: 'http://evil.example:1'}}, via: mine}", "via mine is outside limits.via"},
		{"limit, everything allowed", "egress: {" + twoProxies + "}\nlimits: {via: [corp]}", "egress: {default: allow}", "default: allow is outside limits.via, which has no direct"},
		{"limit of what the lower layer makes", "limits: {via: [mine]}", "egress: {upstreams: {mine: {url: 'http://evil.example:1'}}}", `limits.via: there is no upstream "mine" in this layer or above it`},
		{"proxy outside limits.egress", "limits: {egress: ['*.a.example']}", "egress: {upstreams: {mine: {url: 'http://evil.example:1'}}}", "upstream mine (http://evil.example:1) is outside limits.egress"},
		{"addresses outside limits.egress", "limits: {egress: ['*.a.example']}", "egress: {upstreams: {mine: {url: 'http://x.a.example:1', addresses: [10.0.0.0/8]}}}", "addresses 10.0.0.0/8 of upstream mine is outside limits.egress"},
		{"denied proxy", "egress: {deny: [{host: '*.evil.example'}]}", "egress: {upstreams: {mine: {url: 'http://x.evil.example:1'}}}", "upstream mine is at x.evil.example:1, which system.yaml:2 denies"},
		{"another proxy of that name", "egress: {" + twoProxies + "}", "egress: {upstreams: {corp: {url: 'http://evil.example:1'}}}", "upstream corp is here and at system.yaml:2, and they differ"},
		{"more exceptions", "egress: {upstreams: {corp: {url: 'http://proxy.corp.example:3128'}}}", "egress: {upstreams: {corp: {url: 'http://proxy.corp.example:3128', except: ['*']}}}", "and they differ"},
		{"the same proxy", "egress: {upstreams: {corp: {url: 'http://proxy.corp.example:3128'}}}", "egress: {upstreams: {corp: {url: 'http://PROXY.corp.example:3128/'}}}", ""},
		{"unknown", "egress: {}", "egress: {" + twoProxies + ", allow: [{host: a.example, via: crop}]}", `there is no upstream "crop" in this layer or above it; did you mean "corp"?`},
		{"of a lower layer", "egress: {allow: [{host: a.example, via: corp}]}", "egress: {" + twoProxies + "}", "no upstream"},
		{"two ways", "egress: {}", "egress: {" + twoProxies + ", allow: [{host: a.example, via: corp}, {host: a.example, ports: [8443], via: direct}]}", "a.example goes via direct here and via corp at user.yaml:2"},
		{"login passed on", "egress: {}", "egress: {upstreams: {corp: {url: 'http://a.example:1', from: 'env:LOGIN'}}}\nenvironment: {pass: [LOGIN]}", "LOGIN holds the credentials of upstream corp"},
	} {
		_, err := layers(t, map[Layer]string{System: c.system, User: c.user})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestRouteUnderFloor: a caller's word about the administrator's proxies is not
// taken.
func TestRouteUnderFloor(t *testing.T) {
	floor := parseFloor(t, "egress: {via: corp, "+twoProxies+"}\n")
	client, err := New(append(clientFiles(t, map[Layer]string{User: "egress: {allow: [{host: a.example}]}\n"}), floor))
	if err != nil {
		t.Fatal(err)
	}
	client.d.Upstreams[0].Except = []LimitPattern{{host: hostPattern{wild: true}}}
	client.d.Via.V = Direct
	p, err := UnderFloor(floor, client)
	if err != nil {
		t.Fatal(err)
	}
	if got := routeOf(p, "a.example"); got != "corp" {
		t.Errorf("goes via %s", got)
	}
	client.d.Via = Value[string]{V: Direct, From: client.d.Rules[0].Source, Set: true}
	if _, err := UnderFloor(floor, client); err == nil || !strings.Contains(err.Error(), "goes round") {
		t.Errorf("a caller's own way: %v", err)
	}
}

// TestProxyDial: an upstream opens its own addresses to the guard and no other's.
func TestProxyDial(t *testing.T) {
	p := mustPolicy(t, `version: 1
egress:
  hosts: {fixed.example: 10.0.0.7}
  upstreams:
    name: {url: "http://proxy.example:1"}
    private: {url: "http://proxy.example:1", addresses: [10.0.0.0/8]}
    literal: {urls: ["http://10.1.2.3:1", "http://[fd00::1]:1"]}
    host: {url: "http://host.penstock.internal:1"}
    fixed: {url: "http://fixed.example:1"}
`)
	want := map[string][]string{"name": {""}, "private": {"10.0.0.0/8"}, "literal": {"10.1.2.3/32", "fd00::1/128"}, "host": {"127.0.0.1/32 ::1/128"}, "fixed": {"10.0.0.7/32"}}
	for _, u := range p.Upstreams() {
		for i, x := range u.Proxies() {
			var got []string
			if x.Dial != nil {
				for _, a := range x.Dial.Addresses {
					got = append(got, a.String())
				}
			}
			if s := strings.Join(got, " "); s != want[u.Name][i] {
				t.Errorf("%s opens %q, want %q", u.Name, s, want[u.Name][i])
			}
		}
	}
	v := p.Decide(&hooks.Request{Protocol: hooks.ProtocolTCP, Target: hooks.Target{Addr: netip.MustParseAddr("10.1.2.3"), Port: 1}})
	if v.Action != hooks.Deny {
		t.Error("naming a proxy allows the pen to reach it")
	}
}

// TestUpstreamSecrets: what may be a password is in no message.
func TestUpstreamSecrets(t *testing.T) {
	for _, text := range []string{
		"egress: {upstreams: {corp: {url: 'http://u:hunter2@a.example:1'}}}",
		"egress: {upstreams: {corp: {url: 'hunter2'}}}",
		"egress: {upstreams: {corp: {url: 'http://a.example:1', from: hunter2}}}",
		"egress: {upstreams: {corp: {url: 'http://a.example:1', user: 'u:hunter2', from: 'env:X'}}}",
	} {
		if _, err := Parse("f", User, []byte("version: 1\n"+text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := New(nil, Inline{"--upstream", "http://u:hunter2@a.example:1"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("flag: %v", err)
	}
	p := mustPolicy(t, "version: 1\n", Inline{"--upstream", "http://a.example:3128"})
	if got := routeOf(p, "b.example"); got != "command-line" {
		t.Errorf("--upstream: %s", got)
	}
}

func FuzzProxyURL(f *testing.F) {
	for _, s := range []string{"http://a.example:1", "https://[::1]:8/", "socks5h://u:p@h:1", "http://1.2.3.4:99999", "socks5://[fe80::1%25x]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, target, canonical, msg, _ := parseProxy(s)
		if msg != "" {
			return
		}
		_, again, same, msg, _ := parseProxy(canonical)
		if msg != "" || same != canonical || again != target || target.Port == 0 || strings.Contains(canonical, "@") {
			t.Errorf("%q: %q, %q, %v, %v, %s", s, canonical, same, target, again, msg)
		}
	})
}
