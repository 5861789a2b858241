package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// gen makes random policies and requests over a small alphabet, so that rules
// and requests meet.
type gen struct{ *rand.Rand }

func newGen(seed uint64) *gen { return &gen{rand.New(rand.NewPCG(seed, 1))} }

func (g *gen) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *gen) host() string {
	return g.one("a.example", "b.a.example", "c.b.a.example", "example", "xa.example", "a.example.evil", HostInternal, "z.test")
}

func (g *gen) addr() string {
	return g.one("10.0.0.1", "10.1.0.1", "8.8.8.8", "[2001:db8::1]", "[fd00::1]")
}

// rule returns a rule that parses.
func (g *gen) rule(deny bool) string {
	for {
		var b strings.Builder
		switch g.IntN(6) {
		case 0:
			fmt.Fprintf(&b, "cidr: %q", g.one("10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "8.8.8.8"))
		case 1:
			b.WriteString(`host: "*"`)
		case 2:
			fmt.Fprintf(&b, "host: %q", "*."+g.one("a.example", "example", "b.a.example", "test", "internal"))
		default:
			b.WriteString("host: " + g.host())
		}
		if g.IntN(3) == 0 {
			b.WriteString(", ports: [" + g.one("443", "80", "22", `"1-1024"`, "80, 443") + "]")
		}
		if g.IntN(4) == 0 {
			b.WriteString(", methods: [" + g.one("GET", "POST", "GET, HEAD") + "]")
		}
		if g.IntN(3) == 0 {
			b.WriteString(`, paths: ["` + g.one("/a", "/a/**", "/a/*", "/**/b", "/*", `/a/b", "/c/**`) + `"]`)
		}
		if g.IntN(4) == 0 {
			b.WriteString(", protocol: " + g.one("http", "https", "tls", "tcp", "[http, tcp]"))
		}
		if !deny && g.IntN(5) == 0 {
			b.WriteString(", addresses: [" + g.one("10.0.0.0/8", "192.168.0.0/16") + "]")
		}
		if !deny && g.IntN(8) == 0 {
			b.WriteString(", inspect: false")
		}
		text := "{" + b.String() + "}"
		section := "allow"
		if deny {
			section = "deny"
		}
		if _, err := Parse("g", User, []byte("version: 1\negress: {"+section+": ["+text+"]}\n")); err == nil {
			return text
		}
	}
}

func (g *gen) rules(n int, deny bool) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = g.rule(deny)
	}
	return out
}

func (g *gen) request(t testing.TB) *hooks.Request {
	h := g.host()
	if g.IntN(4) == 0 {
		h = g.addr()
	}
	scheme := g.one("https", "https", "http", "tls", "tcp")
	path := g.one("/", "/a", "/a/", "/a/b", "/a/b/c", "/a//b", "/a%2Fb", "/a;x/b", "/c/d", "/%2561", "/x")
	return req(t, g.one("GET", "GET", "POST", "HEAD", "DELETE")+" "+scheme+"://"+h+":"+g.one("443", "80", "22", "8443")+path)
}

func policyText(def string, allow, deny []string) string {
	return "version: 1\negress:\n  default: " + def + "\n  allow: [" + strings.Join(allow, ", ") + "]\n  deny: [" + strings.Join(deny, ", ") + "]\n"
}

// rangeOf says whether what the wider Dial reaches includes the narrower's.
func includes(wider, narrower *Dial) bool {
	if narrower == nil {
		return true
	}
	if wider == nil {
		return false
	}
	for _, a := range narrower.Addresses {
		ok := false
		for _, b := range wider.Addresses {
			ok = ok || within(a, b)
		}
		if !ok {
			return false
		}
	}
	return true
}

// checkProperties builds policies from one seed and holds the language's promises.
func checkProperties(t *testing.T, seed uint64) {
	g := newGen(seed)
	def := g.one("deny", "deny", "ask", "allow")
	allow, deny := g.rules(g.IntN(6), false), g.rules(g.IntN(3), true)
	p := mustPolicy(t, policyText(def, allow, deny))
	shuffled, shuffledDeny := append([]string(nil), allow...), append([]string(nil), deny...)
	g.Shuffle(len(allow), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	g.Shuffle(len(deny), func(i, j int) { shuffledDeny[i], shuffledDeny[j] = shuffledDeny[j], shuffledDeny[i] })
	order := mustPolicy(t, policyText(def, shuffled, shuffledDeny))
	moreDeny := mustPolicy(t, policyText(def, allow, append(deny[:len(deny):len(deny)], g.rule(true))))
	moreAllow := mustPolicy(t, policyText(def, append(allow[:len(allow):len(allow)], g.rule(false)), deny))
	split, err := layers(t, map[Layer]string{
		System:  strings.TrimPrefix(policyText(def, nil, deny), "version: 1\n"),
		Project: "egress: {allow: [" + strings.Join(allow, ", ") + "]}",
	})
	if err != nil {
		t.Fatal(err)
	}
	round := roundTrip(t, p)
	for range 40 {
		r := g.request(t)
		v := p.Decide(r)
		fail := func(what string, w Verdict) {
			t.Errorf("seed %d: %s: %s: %s; was %v by %v, is %v by %v\n%s", seed, what, describe(r), def, v.Action, v.Rule, w.Action, w.Rule, policyText(def, allow, deny))
		}
		if w := order.Decide(r); w.Action != v.Action || !includes(w.Dial, v.Dial) || !includes(v.Dial, w.Dial) {
			fail("order matters", w)
		}
		if w := moreDeny.Decide(r); w.Action == hooks.Allow && v.Action != hooks.Allow {
			fail("a deny widens", w)
		}
		if w := moreAllow.Decide(r); v.Action == hooks.Allow && (w.Action != hooks.Allow || !includes(w.Dial, v.Dial)) {
			fail("an allow narrows", w)
		}
		if w := split.Decide(r); w.Action != v.Action {
			fail("layers matter where they should not", w)
		}
		if w := round.Decide(r); w.Action != v.Action || (w.Rule == nil) != (v.Rule == nil) || w.Reason != v.Reason || w.Rule != nil && w.Rule.Ref() != v.Rule.Ref() {
			fail("a round trip matters", w)
		}
		if naive := naiveDecide(p, r); naive != v.Action {
			fail("the plain reading of the rules says "+naive.String(), v)
		}
		connectAgrees(t, p, r, v)
	}
}

// naiveDecide looks at every rule, without the index.
func naiveDecide(p *Policy, r *hooks.Request) hooks.Action {
	c := cursor{r: r}
	action := p.act
	if action != hooks.Allow || r.Target.Host == HostInternal {
		action = hooks.Deny
	}
	for _, rule := range p.Rules() {
		if !rule.Deny && rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchRequest(&c) {
			action = hooks.Allow
		}
	}
	for _, rule := range p.Rules() {
		if rule.Deny && rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchRequest(&c) {
			action = hooks.Deny
		}
	}
	return action
}

// connectAgrees: what Decide allows, Connect must have called possible; and what
// is relayed unread must hold nothing that Decide would deny.
func connectAgrees(t *testing.T, p *Policy, r *hooks.Request, v Verdict) {
	t.Helper()
	c := p.Connect(r.Target)
	if v.Action == hooks.Allow {
		ok := map[hooks.Protocol]bool{
			hooks.ProtocolHTTP: c.HTTP, hooks.ProtocolHTTPS: c.HTTPS, hooks.ProtocolTCP: c.TCP.Action == hooks.Allow,
			hooks.ProtocolTLS: c.PassThrough != nil || p.act == hooks.Allow,
		}[r.Protocol]
		if !ok {
			t.Errorf("%s is allowed, but not possible: %+v", describe(r), c)
		}
		return
	}
	inner := r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS || r.Protocol == hooks.ProtocolTLS
	if inner && c.Raw {
		t.Errorf("%s is denied, but raw TCP there is allowed", describe(r))
	}
	if r.Protocol == hooks.ProtocolHTTPS && c.PassThrough != nil {
		t.Errorf("%s is denied, but TLS there is passed through", describe(r))
	}
}

func TestProperties(t *testing.T) {
	n := uint64(1500)
	if testing.Short() {
		n = 100
	}
	for seed := range n {
		checkProperties(t, seed)
		if t.Failed() {
			return
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(full))
	f.Add([]byte("version: 1\na: &a [*a]\n"))
	f.Add([]byte("version: 1\negress: {allow: [{host: \"*.a\", paths: [\"/%2e\"]}]}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("f", Project, src)
		if err != nil {
			if s := strings.ReplaceAll(err.Error(), "\n", ""); !isPrintableASCII(s) {
				t.Errorf("unsafe error %q", s)
			}
			return
		}
		p, err := New([]*File{file})
		if err != nil {
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Policy
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if p.Hash() != q.Hash() {
			t.Errorf("a round trip changes the policy: %s", b)
		}
		var shown bytes.Buffer
		if err := p.Show(&shown, false); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("shown", Project, shown.Bytes())
		if err != nil {
			t.Fatalf("what is shown does not parse: %v\n%s", err, shown.Bytes())
		}
		s, err := New([]*File{again})
		if err != nil {
			t.Fatalf("what is shown does not join: %v\n%s", err, shown.Bytes())
		}
		for _, r := range []string{"https://api.example.com/v1/x", "https://a/", "tcp://db.example:6005", "https://10.20.1.1/", "http://b.a:80/a"} {
			r := req(t, r)
			v := p.Decide(r)
			if a := q.Decide(r); a.Action != v.Action || a.Reason != v.Reason {
				t.Errorf("%s: %v after a round trip, was %v", describe(r), a, v)
			}
			if a := s.Decide(r); a.Action != v.Action {
				t.Errorf("%s: %v as shown, was %v", describe(r), a, v)
			}
		}
	})
}

func FuzzCanonicalHost(f *testing.F) {
	for _, s := range []string{"Example.COM.", "bücher.example", "xn--bcher-kva.example", "127.1", "a..b", "ｅ．c", "a\u00adb", "xn--a", "１２７.1", "a_b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := CanonicalHost(s)
		if err != nil {
			if h != "" || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %q, %q", s, h, err)
			}
			return
		}
		if !isCanonicalHost(h) || checkHost(h) != nil {
			t.Errorf("%q: %q is not canonical", s, h)
		}
		if again, err := CanonicalHost(h); err != nil || again != h {
			t.Errorf("%q: %q becomes %q, %v", s, h, again, err)
		}
		for _, other := range []string{strings.ToUpper(h), h + "."} {
			if again, err := CanonicalHost(other); err != nil || again != h {
				t.Errorf("%q becomes %q, %v", other, again, err)
			}
		}
	})
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "/..%2f", "/%252e%252e%252f", "/..;/x", "/a//b", "/é", "/a%5c..%5c", "/%25%32%65"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := CanonicalPath(s)
		if err != nil {
			if p != "" || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %q, %q", s, p, err)
			}
			return
		}
		if again, err := CanonicalPath(p); err != nil || again != p {
			t.Errorf("%q: %q becomes %q, %v", s, p, again, err)
		}
		if !isPrintableASCII(p) || p == "" {
			t.Errorf("%q: %q is not printable ASCII", s, p)
		}
		if p == "*" {
			return
		}
		// However deep somebody decodes it, no dot segment appears.
		for d := p; ; {
			for _, seg := range strings.FieldsFunc(d, func(r rune) bool { return r == '/' || r == '\\' }) {
				if seg, _, _ = strings.Cut(seg, ";"); seg == "." || seg == ".." {
					t.Errorf("%q: %q holds %q when decoded to %q", s, p, seg, d)
				}
			}
			next := decodeOnce(d)
			if next == d {
				break
			}
			d = next
		}
		var out [maxReadings]string
		if n := readings(p, &out); n < 1 || out[0] == "" || out[0][0] != '/' {
			t.Errorf("%q: readings %q", p, out)
		}
	})
}

// decodeOnce is one server's decoding, that leaves alone what is no triplet.
func decodeOnce(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if c, ok := triplet(s, i); ok {
			b = append(b, c)
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"a.example", "a:80", "[::1]:80", "https://a/x?y#z", "tcp://a:22", "1.2.3.4", "::ffff:1.2.3.4", "a@b", "fe80::1%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			if target != (hooks.Target{}) || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %v, %q", s, target, err)
			}
			return
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Errorf("%q: %v becomes %v, %v", s, target, again, err)
		}
		if why := unfit(&hooks.Request{Protocol: hooks.ProtocolTCP, Target: target}); why != "" {
			t.Errorf("%q: %v: %s", s, target, why)
		}
	})
}

// FuzzMatchPath holds the matcher to the definition, written as recursion.
func FuzzMatchPath(f *testing.F) {
	f.Add("/a/**/b*", "/a/x/y/bc")
	f.Add("/**/**/*", "/")
	f.Add("/*a*b*/**", "/aabb/c")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 40 || len(path) > 40 || pattern == "" || pattern[0] != '/' || path == "" || path[0] != '/' {
			return
		}
		want := naivePath(strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/"))
		if got := matchPath(pattern, path); got != want {
			t.Errorf("%q on %q: got %v", pattern, path, got)
		}
	})
}

func naivePath(p, s []string) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == "**" {
		for i := 0; i <= len(s); i++ {
			if naivePath(p[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	return len(s) > 0 && naiveSegment(p[0], s[0]) && naivePath(p[1:], s[1:])
}

func naiveSegment(p, s string) bool {
	if p == "" {
		return s == ""
	}
	if p[0] == '*' {
		return naiveSegment(p[1:], s) || s != "" && naiveSegment(p, s[1:])
	}
	return s != "" && p[0] == s[0] && naiveSegment(p[1:], s[1:])
}

// FuzzHost: a wildcard covers exactly what is below it, by the plain definition.
func FuzzHostPattern(f *testing.F) {
	f.Add("*.example.com", "a.example.com")
	f.Add("*.example.com", "evilexample.com")
	f.Fuzz(func(t *testing.T, pattern, host string) {
		p, err := parseHostPattern(pattern)
		if err != nil {
			return
		}
		h, err := CanonicalHost(host)
		if err != nil {
			return
		}
		want := h == p.name
		if p.wild {
			want = h != HostInternal && (p.name == "" || strings.HasSuffix("."+h, "."+p.name) && h != p.name)
		}
		if p.matches(h) != want {
			t.Errorf("%s on %s: got %v", p, h, !want)
		}
	})
}
