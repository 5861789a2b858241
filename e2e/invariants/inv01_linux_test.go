package invariants

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// text answers every request with a constant.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
}

// TestInvariant01DenyByConstruction: what nothing allows, what fails and what
// can't be understood is denied, with a reason.
func TestInvariant01DenyByConstruction(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		t.Run("no rule", func(t *testing.T) { denyWithoutRule(t, c) })
		t.Run("errors", func(t *testing.T) { denyOnError(t, c) })
		t.Run("policies that can't be understood", func(t *testing.T) { denyOddPolicies(t, c) })
	})
}

// denyWithoutRule: every kind of request meets no rule, an empty list, a rule of
// another host or protocol, or a deny beside its allow.
func denyWithoutRule(t *testing.T, old *host.Caller) {
	w := world.New(t)
	evil, plain := w.HTTPS("evil.example.com", text("stolen")), w.HTTP("plain.example.com", text("stolen"))
	raw := w.TCP("raw.example.com", 7777, func(c net.Conn) { io.WriteString(c, "stolen") })
	good := w.HTTP("good.example.com", text("good"))
	for name, set := range map[string]func(c *host.Caller){
		"no policy":       func(c *host.Caller) { c.NoPolicy = true },
		"empty policy":    func(*host.Caller) {},
		"another host":    func(c *host.Caller) { c.Rules = []string{"{host: good.example.com}"} },
		"another port":    func(c *host.Caller) { c.Rules = []string{`{host: "*.example.com", ports: [8443]}`} },
		"a look-alike":    func(c *host.Caller) { c.Rules = []string{`{host: "*.evil.example.com"}`, "{host: xevil.example.com}"} },
		"deny and allow":  func(c *host.Caller) { c.Rules, c.Denied = []string{`{host: "*"}`}, []string{`{host: "*"}`} },
		"another method":  func(c *host.Caller) { c.Rules = []string{`{host: "*", methods: [POST]}`} },
		"another path":    func(c *host.Caller) { c.Rules = []string{`{host: "*", paths: ["/x/**"]}`} },
		"names, no bytes": func(c *host.Caller) { c.Rules = []string{"{cidr: 192.0.2.77/32}"} },
	} {
		c := host.NewCaller(t, w, old.Opts)
		set(c)
		urls := []string{"https://evil.example.com/", "http://plain.example.com/", "http://raw.example.com:7777/", fmt.Sprintf("http://%s/", plain.Addr)}
		if w.IPv6() {
			urls = append(urls, fmt.Sprintf("http://[%s]/", plain.Addr6))
		}
		r := c.Tool(nil, "fetch", urls...)
		for _, u := range urls {
			if !strings.Contains(r.Stdout, u+" 403 ") {
				t.Errorf("%s: %s was not denied\n%s", name, u, r)
			}
		}
		for _, f := range host.Flows(c.Records(""), "") {
			if f.Text("verdict") != "deny" || f.Text("reason") == "" {
				t.Errorf("%s: recorded: %v", name, f)
			}
		}
		if n := len(host.Flows(c.Records(""), "")); n != len(urls) {
			t.Errorf("%s: %d decisions are recorded, want %d", name, n, len(urls))
		}
		c.NothingLeft()
	}
	if n := evil.Hits() + plain.Hits() + raw.Hits() + good.Hits(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	// The counterpart: it is the missing rule that denies.
	c := host.NewCaller(t, w, old.Opts)
	c.Rules = []string{"{host: good.example.com}"}
	if r := c.Tool(nil, "fetch", "http://good.example.com/"); !strings.Contains(r.Stdout, " 200 good") {
		t.Errorf("an allowed request failed\n%s", r)
	}
}

// denyOnError: the policy allows, and something on the way fails.
func denyOnError(t *testing.T, old *host.Caller) {
	w := world.New(t)
	inner := w.PrivateAddress()
	w.ListenAt(inner, 80)
	w.Name("inner.example.com", inner)
	w.Name("mapped.example.com", netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 66, 14: 0, 15: 1}))
	w.Name("nothing.example.com")
	w.Name("mixed.example.com", w.Address(), inner)
	w.Place("closed.example.com", 81)
	c := host.NewCaller(t, w, old.Opts)
	c.Rules = []string{`{host: "*.example.com"}`}
	urls := map[string]string{
		"http://inner.example.com/": "private", "http://mapped.example.com/": "", "http://mixed.example.com/": "private",
		"http://nothing.example.com/": "", "http://missing.example.com/": "", "http://closed.example.com/": "",
	}
	var list []string
	for u := range urls {
		list = append(list, u)
	}
	r := c.Tool(nil, "fetch", list...)
	for u, why := range urls {
		line := lineOf(r.Stdout, u)
		if !strings.Contains(line, " 403 ") && !strings.Contains(line, " 502 ") && !strings.Contains(line, " 504 ") || !strings.Contains(line, why) {
			t.Errorf("%s: want a refusal with a reason: %q", u, line)
		}
	}
	for _, p := range w.Outside() {
		if p.To.Addr().IsPrivate() {
			t.Errorf("a private address was contacted: %v", p)
		}
	}
}

// lineOf returns the line of output that begins with the URL.
func lineOf(output, start string) string {
	for l := range strings.Lines(output) {
		if strings.HasPrefix(l, start) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

// denyOddPolicies: a policy that can't be understood or enforced starts no pen.
func denyOddPolicies(t *testing.T, c *host.Caller) {
	for _, more := range []string{
		"egress: {default: maybe}", "egress: {default: allow, default: deny}", "egress: [allow]", "surprise: true",
		"egress: {allow: [{host: a.example, action: deny}]}", "egress: {allow: [{host: 'a*b'}]}", "sandbox: {tier: none}",
		"version: 2", "\x00", "{", "egress: {allow: [{}]}", "egress: {deny: [{host: a.example, methods: []}]}",
	} {
		file := c.Home.Write(t, "odd.yaml", "version: 1\n"+more+"\n")
		r := c.Run([]string{"--policy", file}, "/bin/echo", "it ran")
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "odd.yaml") {
			t.Errorf("%q: want exit 125 and the file's name\n%s", more, r)
		}
	}
}
