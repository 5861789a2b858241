package policy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
		if g.IntN(5) == 0 {
			b.WriteString(", process: " + g.one("{exe: /usr/bin/git}", "{exe: /usr/bin/curl}", "{exe: /usr/bin/git, sha256: "+gitFile.SHA256+"}"))
		}
		if !deny && g.IntN(5) == 0 {
			b.WriteString(", budget: " + g.one("{requests: 5}", "{bytes_out: 1MiB, per: hour}", "{rate: 5/s}"))
		}
		if g.IntN(4) == 0 {
			b.WriteString(", when: '" + g.one(`request.path.startsWith("/a")`, `request.size < 10`, `request.path == "/a/b" || request.size > 5`, `request.headers.x == "1"`, "true", "false") + "'")
		}
		if !deny && g.IntN(6) == 0 {
			b.WriteString(", pin: {secret: K}")
		}
		if !deny && g.IntN(6) == 0 {
			b.WriteString(", " + g.one("git: {repos: [a, 'c/*']}", "git: {repos: ['**'], push: true, branches: [x]}", "grpc: {services: [a/b]}", "jsonrpc: {methods: [a]}", "graphql: {operations: [query]}", "registry: npm", "registry: {kind: npm, packages: [a, c]}"))
		}
		text := "{" + b.String() + "}"
		lists := [2][]string{}
		if deny {
			lists[1] = []string{text}
		} else {
			lists[0] = []string{text}
		}
		f, err := Parse("g", User, []byte(policyText("deny", lists[0], lists[1])))
		if err != nil {
			continue
		}
		if _, err := New([]*File{f}); err == nil { // a pin's secret covers its host
			return text
		}
	}
}

// asks returns rules that parse as rules that ask.
func (g *gen) asks(n int) (out []string) {
	for len(out) < n {
		if r := g.rule(false); !strings.Contains(r, "git: {") && !strings.Contains(r, "rpc: {") && !strings.Contains(r, "graphql: {") && !strings.Contains(r, "registry: ") {
			out = append(out, r)
		}
	}
	return out
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
	r := req(t, g.one("GET", "GET", "POST", "HEAD", "DELETE")+" "+scheme+"://"+h+":"+g.one("443", "80", "22", "8443")+path)
	if g.IntN(5) == 0 {
		r.Path, r.Method, r.Header = g.one("/a/b", "/a/git-upload-pack", "/a/git-receive-pack", "/c/d/git-receive-pack"), "POST", http.Header{"Content-Type": {g.one("application/grpc", "application/json", "application/x-git-receive-pack-request", "application/x-git-upload-pack-request")}}
	}
	r.Size = int64(g.IntN(12)) - 1
	if g.IntN(2) == 0 {
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header["X"] = []string{g.one("1", "2")}
	}
	if g.IntN(4) > 0 {
		x := []hooks.Executable{gitFile, curlFile, {Path: "/usr/bin/git", Dev: 8, Ino: 1, SHA256: gitFile.SHA256}, {Path: "/usr/bin/git"}, {Dev: 8, Ino: 100}}[g.IntN(5)]
		r.Process = &hooks.Process{Exe: x}
	}
	return r
}

func policyText(def string, allow, deny []string) string { return askText(def, allow, nil, deny) }

func askText(def string, allow, ask, deny []string) string {
	return "version: 1\nsecrets: [{name: K, from: 'env:K', hosts: [a.example, '*.a.example', '*.a.example.evil', " + HostInternal + "], header: x-k}]\negress:\n  default: " + def + "\n  allow: [" + strings.Join(allow, ", ") + "]\n  ask: [" + strings.Join(ask, ", ") + "]\n  deny: [" + strings.Join(deny, ", ") + "]\n"
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
	ask := g.asks(max(0, g.IntN(5)-2))
	policyText := func(def string, allow, deny []string) string { return askText(def, allow, ask, deny) }
	mustPolicy := func(t *testing.T, text string) *Policy { return resolved(t, mustPolicy(t, text)) }
	p := mustPolicy(t, policyText(def, allow, deny))
	shuffled, shuffledDeny := append([]string(nil), allow...), append([]string(nil), deny...)
	g.Shuffle(len(allow), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	g.Shuffle(len(deny), func(i, j int) { shuffledDeny[i], shuffledDeny[j] = shuffledDeny[j], shuffledDeny[i] })
	shuffledAsk := slices.Clone(ask)
	slices.Reverse(shuffledAsk)
	order := mustPolicy(t, askText(def, shuffled, shuffledAsk, shuffledDeny))
	moreDeny := mustPolicy(t, policyText(def, allow, append(deny[:len(deny):len(deny)], g.rule(true))))
	another := g.rule(false)
	pins := strings.Contains(another, "pin:") // which is a deny of what is not read, too
	moreAllow := mustPolicy(t, policyText(def, append(allow[:len(allow):len(allow)], another), deny))
	oneMore := g.asks(1)[0]
	morePins := strings.Contains(oneMore, "pin:")
	moreAsk := mustPolicy(t, askText(def, allow, append(ask[:len(ask):len(ask)], oneMore), deny))
	noAsk := mustPolicy(t, askText(def, allow, nil, deny))
	split, err := layers(t, map[Layer]string{
		System:  strings.TrimPrefix(policyText(def, nil, deny), "version: 1\n"),
		Project: strings.TrimPrefix(policyText(def, allow, nil), "version: 1\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	split = resolved(t, split)
	round := resolved(t, roundTrip(t, p))
	// Every body is what the rules say that look at bodies, or none is.
	agree := g.IntN(2) == 0
	decide := func(p *Policy, r *hooks.Request) Verdict {
		v := p.Decide(r)
		if agree {
			v = p.Settle(v, r, v.Bodies, "")
		}
		return v
	}
	for range 40 {
		r := g.request(t)
		v := decide(p, r)
		fail := func(what string, w Verdict) {
			t.Errorf("seed %d: %s: %s: %s; was %v by %v, is %v by %v\n%s", seed, what, describe(r), def, v.Action, v.Rule, w.Action, w.Rule, policyText(def, allow, deny))
		}
		if w := decide(order, r); w.Action != v.Action || !includes(w.Dial, v.Dial) || !includes(v.Dial, w.Dial) {
			fail("order matters", w)
		}
		if w := decide(moreDeny, r); w.Action == hooks.Allow && v.Action != hooks.Allow {
			fail("a deny widens", w)
		}
		if w := decide(moreAllow, r); v.Action == hooks.Allow && !(pins && protocolBit(r.Protocol)&bitsWeb == 0) && (w.Action != hooks.Allow || !includes(w.Dial, v.Dial)) {
			fail("an allow narrows", w)
		} else if v.Pin != nil && v.Action == hooks.Allow && w.Pin == nil {
			fail("an allow lifts a pin", w)
		} else if w.Action == hooks.Allow && v.Action == hooks.Allow && !spends(w, v) {
			fail("an allow lifts a budget", w)
		}
		switch w := decide(moreAsk, r); {
		case v.Action == hooks.Allow && v.Rule != nil && w.Action != hooks.Allow && !(morePins && protocolBit(r.Protocol)&bitsWeb == 0):
			fail("an ask takes what a rule allows", w)
		case w.Action == hooks.Allow && v.Action != hooks.Allow:
			fail("an ask widens", w)
		}
		if w := decide(noAsk, r); v.Action == hooks.Allow && w.Action != hooks.Allow {
			fail("an ask allows", w)
		} else if def != "ask" && v.Action == hooks.Ask && v.Rule == nil {
			fail("nobody asks for a question", w)
		}
		if v.Action == hooks.Ask {
			approvalHolds(t, seed, p, r, v)
		}
		if v.Action == hooks.Allow && v.Rule != nil && v.Rule.budget != nil && !slices.Contains(v.Budgets, v.Rule.budget) {
			fail("what is allowed by a rule does not count against its budget", v)
		}
		if w := decide(split, r); w.Action != v.Action {
			fail("layers matter where they should not", w)
		}
		if w := decide(round, r); w.Action != v.Action || (w.Rule == nil) != (v.Rule == nil) || w.Reason != v.Reason || w.Rule != nil && w.Rule.Ref() != v.Rule.Ref() {
			fail("a round trip matters", w)
		}
		nobody := *r
		nobody.Process = nil
		if w := decide(p, &nobody); w.Action == hooks.Allow && v.Action != hooks.Allow {
			fail("not to know the process widens", w)
		}
		if naive := naiveDecide(p, r, agree); naive != v.Action {
			fail("the plain reading of the rules says "+naive.String(), v)
		}
		connectAgrees(t, p, r, v)
	}
}

// approvalHolds: the rule that a person says yes to allows what was asked, no more
// than the rule that asks, and is what ParseApproval takes for that target only.
func approvalHolds(t *testing.T, seed uint64, p *Policy, r *hooks.Request, v Verdict) {
	t.Helper()
	a := p.Approval(r, v)
	for _, rule := range []*Rule{a.Rule, a.Deny} {
		got, err := ParseApproval(rule.Text, r.Target, rule.Deny)
		if err != nil || got.Text != rule.Text {
			t.Errorf("seed %d: %s: the rule of the answer: %s: %v", seed, describe(r), rule.Text, err)
			return
		}
		other := r.Target
		other.Port ^= 1
		if _, err := ParseApproval(rule.Text, other, rule.Deny); err == nil && !rule.Deny {
			t.Errorf("seed %d: %s is taken for %s", seed, rule.Text, other)
		}
		other = hooks.Target{Host: "x" + r.Target.Host, Port: r.Target.Port}
		if _, err := ParseApproval(rule.Text, other, rule.Deny); err == nil {
			t.Errorf("seed %d: %s is taken for %s", seed, rule.Text, other)
		}
	}
	d := p.d
	granted := *a.Rule
	granted.Source = Source{File: "--allow x", Layer: CommandLine}
	d.Rules = append(slices.Clone(d.Rules), &granted)
	with, err := compile(d)
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	if w := with.Decide(r); w.Action != hooks.Allow || !includes(w.Dial, v.Dial) && len(v.Rule.address) > 0 && v.Dial == v.Rule.Dial {
		t.Errorf("seed %d: %s: with %s it is %v: %s", seed, describe(r), granted.Text, w.Action, w.Reason)
	}
	g := newGen(seed)
	for range 20 {
		q := g.request(t)
		if w := with.Decide(q); w.Action == hooks.Allow && p.Decide(q).Action != hooks.Allow && (q.Target != r.Target || p.Decide(q).Action != hooks.Ask) {
			t.Errorf("seed %d: %s: %s allows %s, which was not asked about", seed, describe(r), granted.Text, describe(q))
		}
	}
}

// spends says whether all budgets of v are among those of w.
func spends(w, v Verdict) bool {
	for _, b := range v.Budgets {
		if !slices.ContainsFunc(w.Budgets, func(c *Budget) bool { return c.Subject == b.Subject && c.String() == b.String() }) {
			return false
		}
	}
	return true
}

// naiveDecide looks at every rule, without the index.
func naiveDecide(p *Policy, r *hooks.Request, agree bool) hooks.Action {
	c := cursor{r: r}
	action := p.act
	if r.Target.Host == HostInternal || action == hooks.Ask && r.Target.Host == "" && r.Target.Addr.IsPrivate() {
		action = hooks.Deny
	}
	for _, rule := range p.Rules() {
		if p.act != hooks.Allow && rule.Ask && rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchProcess(r.Process) && rule.matchRequest(&c) {
			action = hooks.Ask
		}
	}
	for _, rule := range p.Rules() {
		if !rule.Deny && !rule.Ask && rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchProcess(r.Process) && rule.matchRequest(&c) && (agree || !rule.byBody(&c)) {
			action = hooks.Allow
		}
	}
	for _, rule := range p.Rules() {
		if rule.pin != nil && rule.matchHost(&r.Target) && (rule.ports == nil || inPorts(rule.ports, r.Target.Port)) && protocolBit(r.Protocol)&bitsWeb == 0 {
			action = hooks.Deny
		}
		if rule.Deny && rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchProcess(r.Process) && rule.matchRequest(&c) {
			action = hooks.Deny
		}
	}
	return action
}

// connectAgrees: what Decide allows, Connect must have called possible; and what
// is relayed unread must hold nothing that Decide would deny.
func connectAgrees(t *testing.T, p *Policy, r *hooks.Request, v Verdict) {
	t.Helper()
	c := p.ConnectBy(r.Target, r.Process)
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
	if v.Action == hooks.Ask && !c.Possible() {
		t.Errorf("%s is asked about, but not possible: %+v", describe(r), c)
	}
	inner := r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS || r.Protocol == hooks.ProtocolTLS
	if inner && c.Raw {
		t.Errorf("%s is denied, but raw TCP there is allowed", describe(r))
	}
	if r.Protocol == hooks.ProtocolHTTPS && c.PassThrough != nil && !c.PassThrough.Ask {
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
