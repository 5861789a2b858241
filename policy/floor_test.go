package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

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
		out = append(out, g.one("modes: [enforce]", "modes: [enforce, ask]", "modes: [enforce, audit]"))
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
	fmt.Fprintf(&b, "  allow: [%s]\n  ask: [%s]\n  deny: [%s]\n", strings.Join(g.rules(g.IntN(rules+1), false), ", "), strings.Join(g.asks(g.IntN(2)), ", "), strings.Join(g.rules(g.IntN(2), true), ", "))
	if g.IntN(3) == 0 {
		b.WriteString("  hosts: {fixed.example: 10.0.0.7}\n")
	}
	if g.IntN(4) == 0 {
		b.WriteString("  ca: [" + g.one("/x.pem", "~/y.pem", "z.pem") + "]\n")
	}
	if g.IntN(2) == 0 {
		b.WriteString("sandbox: {" + g.one("memory: 512MiB", "memory: 3GiB", "tier: gvisor", "tiers: [gvisor, bwrap]", "tiers: [bwrap, wasm]", "pids: 100, cpus: 2", "timeout: 1h, open_files: 10", "read_rate: 1MiB, write_rate: 1GiB", "idle: 5m, on_violation: kill", "on_violation: continue") + "}\n")
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
		d.Warnings, d.AskWithin = nil, nil
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
