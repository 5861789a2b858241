package policy

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

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

const honestClient = `egress: {allow: [{host: git.corp.example, process: {exe: /usr/bin/git}}, {host: api.corp.example, pin: {secret: K, pass_query: [q]}, budget: {requests: 5, per: hour, rate: 5/s}}], deny: [{host: x.corp.example}], hosts: {git.corp.example: 10.0.0.1}}
sandbox: {memory: 1GiB, tier: bwrap, tiers: [bwrap, gvisor], cpus: 1, pids: 5, open_files: 9, timeout: 1h, idle: 5m, on_violation: kill}
environment: {pass: [LANG], set: {A: x}, proxy_variables: false}
filesystem: {write: [/srv/a], read: [/opt], hide: [/h], protect: [/srv/a/p]}
secrets: [{name: K, from: 'env:K', hosts: [git.corp.example, api.corp.example], header: x-k}, {name: L, from: {command: [pass, l]}, hosts: [l.corp.example], basic: {user: u}}, {name: M, from: 'credential:m', hosts: [m.corp.example], query: q}, {name: N, from: 'file:/n', hosts: [n.corp.example], json: a.b}, {name: O, from: 'keyring:b=c,a=b', hosts: [o.corp.example], bearer: true}, {name: P, from: 'env:P', hosts: [o.corp.example], websocket: {json: a.b}}]
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
	for _, texts := range []map[Layer]string{{User: honestClient}, {Project: "egress: {allow: [{host: a.corp.example}]}"}, {},
		{User: "egress: {allow: [{host: a.corp.example, when: 'true'}]}\nhooks: [{name: a, on: [request], cel: '\"next\"'}, {name: b, on: [request], http: 'https://a.corp.example/', key: 'env:K'}]"}} {
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
