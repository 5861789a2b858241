package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

const floorName = "/etc/penstock/policy.yaml"

func parseFloor(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse(floorName, System, []byte("version: 1\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// clientFiles parses the caller's layers.
func clientFiles(t testing.TB, texts map[Layer]string) []*File {
	t.Helper()
	var files []*File
	for l, text := range texts {
		f, err := Parse("/home/u/"+strings.ReplaceAll(l.String(), " ", "-")+".yaml", l, []byte("version: 1\n"+text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		files = append(files, f)
	}
	return files
}

// limits returns a random limits section.
func (g *gen) limits() string {
	var out []string
	if g.IntN(2) == 0 {
		out = append(out, "egress: ["+g.one(`"*"`, `"*.example"`, `"*.a.example", 10.0.0.0/8`, `a.example, "*.a.example", 0.0.0.0/0, "::/0"`, "")+"]")
	}
	if g.IntN(4) == 0 {
		out = append(out, "protocols: ["+g.one("https", "http, https", "https, tls", "tcp")+"]")
	}
	if g.IntN(4) == 0 {
		out = append(out, "modes: [enforce]")
	}
	if g.IntN(4) == 0 {
		out = append(out, "memory: "+g.one("1GiB", "2GiB"), "hide: ["+g.one("/s", "~/.aws")+"]")
	}
	if g.IntN(4) == 0 {
		out = append(out, "tier: "+g.one("bwrap", "gvisor"))
	}
	if g.IntN(4) == 0 {
		out = append(out, "write: [/srv]", "idle: 10m", "on_violation: freeze")
	}
	return "limits: {" + strings.Join(out, ", ") + "}\n"
}

// layer returns what a layer says at random.
func (g *gen) layer(rules int) string {
	var b strings.Builder
	b.WriteString("egress:\n")
	if g.IntN(3) == 0 {
		b.WriteString("  default: " + g.one("deny", "ask", "allow") + "\n")
	}
	fmt.Fprintf(&b, "  allow: [%s]\n  deny: [%s]\n", strings.Join(g.rules(g.IntN(rules+1), false), ", "), strings.Join(g.rules(g.IntN(2), true), ", "))
	if g.IntN(3) == 0 {
		b.WriteString("  hosts: {fixed.example: 10.0.0.7}\n")
	}
	if g.IntN(4) == 0 {
		b.WriteString("  ca: [" + g.one("/x.pem", "~/y.pem", "z.pem") + "]\n")
	}
	if g.IntN(2) == 0 {
		b.WriteString("sandbox: {" + g.one("memory: 512MiB", "memory: 3GiB", "tier: gvisor", "pids: 100, cpus: 2", "timeout: 1h, open_files: 10", "idle: 5m, on_violation: kill", "on_violation: continue") + "}\n")
	}
	if g.IntN(3) == 0 {
		b.WriteString("environment: {pass: [" + g.one("LANG", "'*'", "X_TOKEN") + "], set: {" + g.one("A: x", "A: y", "B: z") + "}}\n")
	}
	if g.IntN(3) == 0 {
		b.WriteString("filesystem: {write: [" + g.one(".", "/srv/a", "~/w") + "], hide: [" + g.one("/s", "h") + "], read: [/opt]}\n")
	}
	if g.IntN(4) == 0 {
		b.WriteString("secrets: [{name: K, from: 'env:K', hosts: [a.example], header: x-k}]\n")
	}
	return b.String()
}

// sameSettings compares all that a policy says but the order of what has none.
func sameSettings(t *testing.T, got, want *Policy) {
	t.Helper()
	a, b := got.d, want.d
	for _, d := range []*data{&a, &b} {
		d.Warnings = nil
		// What a caller sets himself is his own affair.
		d.Limits = slices.DeleteFunc(slices.Clone(d.Limits), func(l Limits) bool { return !l.from(System) })
		d.Environment.Set = slices.Clone(d.Environment.Set)
		slices.SortFunc(d.Environment.Set, func(x, y EnvValue) int { return strings.Compare(x.Name, y.Name) })
		d.Files = slices.Clone(d.Files)
		slices.SortFunc(d.Files, func(x, y FileRef) int { return strings.Compare(x.Name, y.Name) })
	}
	x, _ := json.MarshalIndent(&a, "", " ")
	y, _ := json.MarshalIndent(&b, "", " ")
	if string(x) != string(y) {
		xl, yl := strings.Split(string(x), "\n"), strings.Split(string(y), "\n")
		for i := range min(len(xl), len(yl)) {
			if xl[i] != yl[i] {
				t.Errorf("line %d: got %s, want %s", i, strings.Join(xl[max(0, i-3):min(len(xl), i+6)], "\n"), strings.Join(yl[max(0, i-3):min(len(yl), i+6)], "\n"))
				return
			}
		}
		t.Errorf("got %s\nwant %s", x, y)
	}
	for _, w := range want.d.Warnings {
		// By its words: of equal grants only the first one's place is kept.
		if w.Loosens && !slices.ContainsFunc(got.d.Warnings, func(x Warning) bool { return x.Message == w.Message }) {
			t.Errorf("the warning is gone: %s", w)
		}
	}
}

// TestUnderFloorIsJoin: for honest callers the floor makes what their own
// joining made, and for those who left the administrator's file out (or had
// another) what joining would have made with it.
func TestUnderFloorIsJoin(t *testing.T) {
	joined, refused := 0, 0
	n := uint64(1500)
	if testing.Short() {
		n = 300
	}
	for seed := range n {
		g := newGen(seed)
		floor, err := parseFloor(t, g.layer(2)+g.limits()).ResolveExecutables(findFile)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[Layer]string{}
		for l := User; l <= Profile; l++ {
			if g.IntN(2) == 0 {
				texts[l] = g.layer(1)
				if l == User && g.IntN(2) == 0 {
					texts[l] += g.limits()
				}
			}
		}
		files := clientFiles(t, texts)
		var inline []Inline
		if g.IntN(4) == 0 {
			inline = append(inline, Inline{"--mode", g.one("enforce", "audit")})
		}
		if g.IntN(4) == 0 {
			inline = append(inline, Inline{"--allow", g.one("a.example", "z.test:8443", "*.example")}, Inline{"--env", g.one("A=x", "LANG", "*")})
		}
		want, wantErr := New(append([]*File{floor}, files...), inline...)
		if wantErr == nil {
			joined++
			want = resolved(t, want)
			got, err := UnderFloor(floor, roundTrip(t, want))
			if err != nil {
				t.Fatalf("seed %d: an honest caller is refused: %v", seed, err)
			}
			sameSettings(t, got, want)
		}
		// Who leaves the administrator's file out gains nothing.
		without, err := New(files, inline...)
		if err != nil {
			continue
		}
		got, err := UnderFloor(floor, roundTrip(t, resolved(t, without)))
		if wantErr != nil {
			refused++
		}
		if err == nil {
			if wantErr != nil && !strings.Contains(wantErr.Error(), "limits.") && !strings.Contains(wantErr.Error(), "the limit at") {
				t.Fatalf("seed %d: joined, but the files are refused: %v", seed, wantErr)
			}
			for range 30 {
				notWider(t, seed, floor, got, want, g.request(t))
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: floor and files\n%v", seed, texts)
		}
	}
	if joined < int(n)/10 || refused < int(n)/10 {
		t.Errorf("of %d, %d were joined and %d refused: the test has lost its meaning", n, joined, refused)
	}
}

// notWider holds a joined policy to what the floor allows, by the plain words of
// the floor.
func notWider(t *testing.T, seed uint64, floor *File, got, want *Policy, r *hooks.Request) {
	t.Helper()
	v := got.Decide(r)
	if v.Action != hooks.Allow {
		return
	}
	if want != nil && want.Decide(r).Action != hooks.Allow {
		t.Errorf("seed %d: %s is allowed by %v, but not by the files as they are", seed, describe(r), v.Rule)
	}
	c := cursor{r: r}
	byFloor := floor.def.V == "allow"
	for _, rule := range floor.rules {
		if rule.matchHost(&r.Target) && rule.matchFlow(r.Protocol, r.Target.Port) && rule.matchProcess(r.Process) && rule.matchRequest(&c) {
			if rule.Deny {
				t.Errorf("seed %d: %s is allowed by %v against the floor's %s", seed, describe(r), v.Rule, rule.Text)
			}
			byFloor = true
		}
	}
	if byFloor {
		return
	}
	if l := floor.limits.Protocols; l.Set && !slices.Contains(l.V, r.Protocol.String()) &&
		// Who may write the outer may have the inner in it.
		!slices.Contains(l.V, "tcp") && (r.Protocol != hooks.ProtocolHTTPS || !slices.Contains(l.V, "tls")) {
		t.Errorf("seed %d: %s is allowed by %v outside of limits.protocols", seed, describe(r), v.Rule)
	}
	if !floor.limits.Egress.Set {
		return
	}
	inside := slices.ContainsFunc(floor.limits.Egress.V, func(p LimitPattern) bool {
		if p.cidr.IsValid() {
			return r.Target.Host == "" && p.cidr.Contains(r.Target.Addr)
		}
		return r.Target.Host != "" && p.host.matches(r.Target.Host)
	})
	if !inside {
		t.Errorf("seed %d: %s is allowed by %v outside of limits.egress", seed, describe(r), v.Rule)
	}
}

const honestFloor = `egress: {default: deny, allow: [{host: updates.corp.example}], deny: [{host: "*.evil.example"}]}
limits:
  egress: ["*.corp.example", 10.0.0.0/8]
  protocols: [https, http]
  modes: [enforce]
  ca: false
  memory: 2GiB
  tier: bwrap
  idle: 10m
  on_violation: freeze
  hide: [~/.aws]
  write: [/srv]
`

const honestClient = `egress: {allow: [{host: git.corp.example, process: {exe: /usr/bin/git}}], deny: [{host: x.corp.example}], hosts: {git.corp.example: 10.0.0.1}}
sandbox: {memory: 1GiB, tier: bwrap, cpus: 1, pids: 5, open_files: 9, timeout: 1h, idle: 5m, on_violation: kill}
environment: {pass: [LANG], set: {A: x}, proxy_variables: false}
filesystem: {write: [/srv/a], read: [/opt], hide: [/h], protect: [/srv/a/p]}
secrets: [{name: K, from: 'env:K', hosts: [git.corp.example], header: x-k}]
`

// TestUnderFloorForged changes every single value of an honest caller's JSON, to
// values of a hostile one, and holds the result to the floor.
func TestUnderFloorForged(t *testing.T) {
	floor := parseFloor(t, honestFloor)
	client, err := New(append(clientFiles(t, map[Layer]string{User: honestClient, Profile: "egress: {allow: [{host: p.corp.example}]}\n"}), floor), Inline{"--mode", "enforce"}, Inline{"--allow", "flag.corp.example"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(client)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	evil := []any{
		nil, "", "*", "*.evil.example", "evil.example", "0.0.0.0/0", "::/0", "system", "user", "profile", "command line", "audit", "allow", floorName, floorName + ":2",
		"/etc/../etc/penstock/policy.yaml", "--allow x", "--mode audit", "tcp", "tls", "/", "/etc", "..", "~", "\x1b[2J", "firecracker", "9.9.9.9",
		0, -1, 1, 1e18, true, false, []any{}, []any{"*"}, []any{"tcp"}, map[string]any{}, strings.Repeat("a", 300),
	}
	tried, kept := 0, 0
	var walk func(v any, set func(any))
	walk = func(v any, set func(any)) {
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				walk(e, func(n any) { x[k] = n })
			}
		case []any:
			for i, e := range x {
				walk(e, func(n any) { x[i] = n })
			}
		}
		for _, n := range evil {
			set(n)
			tried++
			if underFloorHolds(t, floor, tree) {
				kept++
			}
			set(v)
		}
	}
	walk(tree, func(n any) { tree = n })
	if !underFloorHolds(t, floor, tree) || kept == 0 || tried < 5000 {
		t.Errorf("%d of %d forgeries joined", kept, tried)
	}
}

// underFloorHolds joins a caller's JSON with the floor and checks the result for
// what no caller may have under honestFloor. It says whether there is a result.
func underFloorHolds(t *testing.T, floor *File, tree any) bool {
	t.Helper()
	b, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var client Policy
	if json.Unmarshal(b, &client) != nil {
		return false
	}
	p, err := UnderFloor(floor, &client)
	if err != nil {
		if s := strings.ReplaceAll(err.Error(), "\n", ""); !isPrintableASCII(s) {
			t.Errorf("unsafe error %q", s)
		}
		return false
	}
	checkHonestFloor(t, floor, p)
	if t.Failed() {
		t.Fatalf("%s", b)
	}
	return true
}

func checkHonestFloor(t *testing.T, floor *File, p *Policy) {
	t.Helper()
	own := 0
	for _, r := range p.Rules() {
		if r.Layer == System || strings.Contains(r.Ref(), "policy.yaml") && strings.HasPrefix(r.Ref(), "/etc") {
			if own >= len(floor.rules) || r.Text != floor.rules[own].Text || r.Source != floor.rules[own].Source || r.Deny != floor.rules[own].Deny {
				t.Errorf("%s %s poses as the administrator's", r.Ref(), r.Text)
				return
			}
			own++
		}
	}
	if own != len(floor.rules) {
		t.Errorf("%d of the floor's rules are left", own)
	}
	if p.Mode() != Enforce || p.Default() == hooks.Allow || len(p.CAFiles()) > 0 {
		t.Errorf("mode %s, default %s, ca %q", p.Mode(), p.Default(), p.CAFiles())
	}
	for _, s := range []string{"https://a.evil.example/", "https://x.evil.corp.example.net/", "https://evil.example/", "https://9.9.9.9/", "http://evil.example/", "tcp://evil.example:22", "tls://git.corp.example", "tcp://git.corp.example:443", "http://host.penstock.internal:80/"} {
		if v := p.Decide(req(t, s)); v.Action == hooks.Allow {
			t.Errorf("%s is allowed by %v", s, v.Rule)
		}
	}
	if v := p.Decide(req(t, "https://updates.corp.example/")); v.Action != hooks.Allow && !slices.ContainsFunc(p.Rules(), func(r *Rule) bool { return r.Deny && r.Layer != System }) {
		t.Error("the floor's own rule is gone")
	}
	s := p.Sandbox()
	if s.Memory.Set && s.Memory.V > 2<<30 || s.Memory.V < 0 || !s.MinTier.Set || strength(s.MinTier.V) < strength("bwrap") {
		t.Errorf("sandbox %+v", s)
	}
	if strictness(s.OnViolation.V) < strictness(Freeze) || s.Idle.V <= 0 || s.Idle.V > 10*time.Minute {
		t.Errorf("sandbox %+v", s)
	}
	if !slices.ContainsFunc(p.Filesystem().Hide, func(g PathGrant) bool { return g.From.Layer == System }) {
		t.Error("limits.hide is gone")
	}
	for _, a := range p.d.Hosts {
		if !floor.limits.rangeAllowed(netip.PrefixFrom(a.Addr, a.Addr.BitLen())) {
			t.Errorf("%s is %s", a.Name, a.Addr)
		}
	}
	for _, x := range p.Secrets() {
		for _, h := range x.Hosts {
			if hp, err := parseHostPattern(h); err != nil || !floor.limits.hostAllowed(hp) {
				t.Errorf("secret %s for %s", x.Name, h)
			}
		}
	}
	for i, f := range p.Files() {
		if (f.Layer == System) != (i == 0) || f.Layer == System && f.SHA256 != floor.SHA256 {
			t.Errorf("files %+v", p.Files())
		}
	}
}

func TestUnderFloorNames(t *testing.T) {
	floor := parseFloor(t, honestFloor)
	for _, tt := range []struct{ text, want string }{
		{"egress: {allow: [{host: evil.example}]}", "/home/u/user.yaml:2:18: rule {host: evil.example} is outside limits.egress; the limit at /etc/penstock/policy.yaml:4 (system) does not allow it"},
		{"egress: {allow: [{host: a.corp.example, protocol: tcp, ports: [22]}]}", "has protocol tcp; the limit at /etc/penstock/policy.yaml:5"},
		{"egress: {ca: [/x.pem]}", "the limit at /etc/penstock/policy.yaml:7"},
		{"sandbox: {memory: 3GiB}", "/home/u/user.yaml:2:19: memory is more than the limit; the limit at /etc/penstock/policy.yaml:8"},
		{"filesystem: {write: [/opt]}", "the limit at /etc/penstock/policy.yaml:13"},
		{"egress: {default: allow}", "the limit at /etc/penstock/policy.yaml:6"},
	} {
		client, err := New(clientFiles(t, map[Layer]string{User: tt.text}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := UnderFloor(floor, roundTrip(t, client)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
	posing, err := Parse(floorName, CommandLine, []byte("version: 1\negress: {allow: [{host: a.corp.example}]}"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := New([]*File{posing})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UnderFloor(floor, client); err == nil || !strings.Contains(err.Error(), "administrator's file") {
		t.Errorf("a file named as the administrator's: %v", err)
	}
	if _, err := UnderFloor(nil, nil); err == nil {
		t.Error("no policy at all is joined")
	}
	if _, err := UnderFloor(posing, client); err == nil {
		t.Error("a file of the command line is taken for the floor")
	}
	got, err := UnderFloor(nil, client)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Rules()[0].Text, client.Rules()[0].Text) {
		t.Error("without a floor the caller's policy changes")
	}
	// What a caller says of a system layer that there is not, goes.
	if client, err = New([]*File{floor}); err != nil {
		t.Fatal(err)
	}
	if got, err = UnderFloor(nil, client); err != nil || len(got.Rules()) != 0 || len(got.Files()) != 0 || got.Sandbox().MinTier.Set {
		t.Errorf("a system layer by hearsay: %v, %v", got, err)
	}
}

// TestUnderFloorIdentity: which file the administrator's rule means is not the
// caller's to say.
func TestUnderFloorIdentity(t *testing.T) {
	floor := parseFloor(t, "egress: {allow: [{host: a.example, process: {exe: /usr/bin/git}}]}")
	own := func(ino uint64) Finder {
		return func(string) ([]hooks.Executable, error) { return []hooks.Executable{{Dev: 1, Ino: ino}}, nil }
	}
	client, err := New([]*File{floor})
	if err == nil {
		client, err = client.ResolveExecutables(own(666))
	}
	if err != nil {
		t.Fatal(err)
	}
	r := req(t, "https://a.example/")
	r.Process = &hooks.Process{Exe: hooks.Executable{Dev: 1, Ino: 666}}
	p, err := UnderFloor(floor, roundTrip(t, client))
	if err != nil || p.Decide(r).Action == hooks.Allow {
		t.Errorf("the caller chose the executable: %v", err)
	}
	if floor, err = floor.ResolveExecutables(own(7)); err != nil {
		t.Fatal(err)
	}
	p, err = UnderFloor(floor, roundTrip(t, client))
	if err != nil || p.Decide(r).Action == hooks.Allow {
		t.Errorf("the caller chose the executable: %v", err)
	}
	r.Process = &hooks.Process{Exe: hooks.Executable{Dev: 1, Ino: 7}}
	if v := p.Decide(r); v.Action != hooks.Allow {
		t.Errorf("the administrator's executable: %+v", v)
	}
}

func FuzzUnderFloor(f *testing.F) {
	floor := parseFloor(f, honestFloor)
	for _, texts := range []map[Layer]string{{User: honestClient}, {Project: "egress: {allow: [{host: a.corp.example}]}"}, {}} {
		p, err := New(clientFiles(f, texts), Inline{"--allow", "b.corp.example"}, Inline{"--mode", "enforce"})
		if err != nil {
			f.Fatal(err)
		}
		b, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"rules":[{"from":{"file":"/etc/penstock/policy.yaml","line":2,"column":1,"layer":"user"},"host":"*"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var client Policy
		if client.UnmarshalJSON(b) != nil {
			return
		}
		p, err := UnderFloor(floor, &client)
		if err != nil {
			if s := strings.ReplaceAll(err.Error(), "\n", ""); !isPrintableASCII(s) {
				t.Errorf("unsafe error %q", s)
			}
			return
		}
		checkHonestFloor(t, floor, p)
		if again, err := UnderFloor(floor, roundTrip(t, p)); err != nil || again.Hash() != p.Hash() {
			t.Errorf("joined again it is another: %v", err)
		}
	})
}
