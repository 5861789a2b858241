package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

// layers joins texts, named after their layers.
func layers(t testing.TB, texts map[Layer]string, inline ...Inline) (*Policy, error) {
	t.Helper()
	var files []*File
	// From the lowest up: the order in which files come must not matter.
	for l := Profile; ; l-- {
		if text, ok := texts[l]; ok {
			f, err := Parse(strings.ReplaceAll(l.String(), " ", "-")+".yaml", l, []byte("version: 1\n"+text))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if l == System {
			break
		}
	}
	return New(files, inline...)
}

func TestLimits(t *testing.T) {
	allow := func(r string) string { return "egress: {allow: [" + r + "]}\n" }
	tested := map[string]bool{}
	for _, tt := range []struct{ name, limits, low, want string }{
		{"inside", `limits: {egress: ["*.corp.example", api.example]}`, allow("{host: a.corp.example}, {host: '*.b.corp.example'}, {host: api.example}"), ""},
		{"outside", `limits: {egress: ["*.corp.example"]}`, allow("{host: api.example}"), "user.yaml:2:18: rule {host: api.example} is outside limits.egress; the limit at system.yaml:2 (system) does not allow it"},
		{"apex", `limits: {egress: ["*.corp.example"]}`, allow("{host: corp.example}"), "outside limits.egress"},
		{"look-alike", `limits: {egress: ["*.corp.example"]}`, allow("{host: evilcorp.example}"), "outside limits.egress"},
		{"wider wildcard", `limits: {egress: ["*.corp.example"]}`, allow("{host: '*.example'}"), "outside limits.egress"},
		{"star", `limits: {egress: ["*.corp.example"]}`, allow("{host: '*'}"), "outside limits.egress"},
		{"nothing", `limits: {egress: []}`, allow("{host: a.example}"), "outside limits.egress"},
		{"deny is free", `limits: {egress: []}`, "egress: {deny: [{host: a.example}]}", ""},
		{"loopback", `limits: {egress: ["*"]}`, allow("{host: host.penstock.internal, ports: [80]}"), "outside limits.egress"},
		{"range inside", `limits: {egress: [10.0.0.0/8]}`, allow("{cidr: 10.1.0.0/16}"), ""},
		{"range outside", `limits: {egress: [10.0.0.0/8, "*"]}`, allow("{cidr: 11.1.0.0/16}"), "outside limits.egress"},
		{"range of the other family", `limits: {egress: ["::/0"]}`, allow("{cidr: 11.1.0.0/16}"), "outside limits.egress"},
		{"wider range", `limits: {egress: [10.0.0.0/8]}`, allow("{cidr: 0.0.0.0/0}"), "outside limits.egress"},
		{"addresses", `limits: {egress: ["*"]}`, allow("{host: a.example, addresses: [10.0.0.0/8]}"), "addresses 10.0.0.0/8 of rule"},
		{"static host", `limits: {egress: ["*.example"]}`, "egress: {hosts: {a.example: 6.6.6.6}}", "address 6.6.6.6 of a.example is outside limits.egress"},
		{"secret", `limits: {egress: ["*.corp.example"]}`, "secrets: [{name: A, from: 'env:A', hosts: [evil.example], header: x}]", "host evil.example of secret A is outside"},
		{"default", `limits: {egress: ["*.corp.example"]}`, "egress: {default: allow}", "default: allow is outside limits.egress"},
		{"default and addresses", `limits: {egress: ["*"]}`, "egress: {default: allow}", "default: allow is outside limits.egress, which has not every address"},
		{"default and one family", `limits: {egress: ["*", 0.0.0.0/0]}`, "egress: {default: allow}", "which has not every address"},
		{"default and everything", `limits: {egress: ["*", 0.0.0.0/0, "::/0"]}`, "egress: {default: allow}", ""},
		{"default and protocols", `limits: {protocols: [http, https]}`, "egress: {default: allow}", "default: allow is outside limits.protocols, which has no tls"},
		{"default and all protocols", `limits: {protocols: [http, https, tls, tcp]}`, "egress: {default: allow}", ""},
		{"modes", `limits: {modes: [enforce]}`, "egress: {default: allow}", "default: allow is audit mode"},
		{"modes with ask", `limits: {modes: [enforce]}`, "egress: {default: ask}", "default: ask is outside limits.modes"},
		{"modes and asking rule", `limits: {modes: [enforce, audit]}`, "egress: {ask: [{host: a.example}]}", "rule {host: a.example} asks, which is outside limits.modes"},
		{"modes with asking", `limits: {modes: [enforce, ask]}`, "egress: {default: ask, ask: [{host: a.example}]}", ""},
		{"asking outside", `limits: {egress: ["*.corp.example"]}`, "egress: {ask: [{host: a.example}]}", "rule {host: a.example} is outside limits.egress"},
		{"protocols", `limits: {protocols: [https]}`, allow("{host: a.example, inspect: false}"), "has protocol tls"},
		{"protocols tcp", `limits: {protocols: [http, https]}`, allow("{host: a.example, ports: [22], protocol: tcp}"), "has protocol tcp"},
		{"protocols narrow", `limits: {protocols: [https]}`, allow("{host: a.example}"), ""},
		{"protocols with ports", `limits: {protocols: [https]}`, allow("{host: a.example, ports: [8080]}"), "has protocol http"},
		{"via", `limits: {via: []}`, allow("{host: a.example}"), "rule {host: a.example} goes via direct, which is outside limits.via"},
		{"via direct", `limits: {via: [direct]}`, allow("{host: a.example}"), ""},
		{"tier", `limits: {tier: gvisor}`, "sandbox: {tier: bwrap}", "tier bwrap is weaker than gvisor"},
		{"stronger tier", `limits: {tier: bwrap}`, "sandbox: {tier: firecracker}", ""},
		{"tier auto", `limits: {tier: gvisor}`, "sandbox: {tier: auto}", ""},
		{"ca", `limits: {ca: false}`, "egress: {ca: [/x.pem]}", "further roots of trust are not allowed"},
		{"approvers", `limits: {approvers: false}`, "egress: {approvers: {desk: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}", "further keys that answer questions are not allowed: desk"},
		{"approvers free", `limits: {approvers: true}`, "egress: {approvers: {desk: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}", ""},
		{"token endpoint", `limits: {egress: ["*.corp.example"]}`, "secrets: [{name: A, from: {oauth2: {token_url: 'https://login.evil.example/t', client_id: a, client_secret: 'env:S'}}, hosts: [a.corp.example], header: x}]", "login.evil.example, which secret A is got from, is outside limits.egress"},
		{"token endpoint inside", `limits: {egress: ["*.corp.example"]}`, "secrets: [{name: A, from: {vault: {url: 'https://vault.corp.example:8200', path: a, field: b, token: 'env:S'}}, hosts: [a.corp.example], header: x}]", ""},
		{"hide", `limits: {hide: [/srv/secret]}`, "filesystem: {read: [/srv/secret/key]}", `the grant of "/srv/secret/key" is in hidden "/srv/secret"`},
		{"hide dots", `limits: {hide: [/srv/secret]}`, "filesystem: {write: [/srv/x/../secret]}", "is in hidden"},
		{"hide sibling", `limits: {hide: [/srv/secret]}`, "filesystem: {read: [/srv/secrets]}", ""},
		{"write", `limits: {write: [/srv]}`, "filesystem: {write: [/opt]}", `write access to "/opt" is outside limits.write`},
		{"write inside", `limits: {write: [/srv]}`, "filesystem: {write: [/srv/a]}", ""},
		{"write nothing", `limits: {write: []}`, "filesystem: {write: [/srv/a]}", "outside limits.write"},
		{"memory", `limits: {memory: 1GiB}`, "sandbox: {memory: 2GiB}", "user.yaml:2:19: memory is more than the limit"},
		{"timeout", `limits: {timeout: 1h}`, "sandbox: {timeout: 61m}", "timeout is more than the limit"},
		{"cpus", `limits: {cpus: 2}`, "sandbox: {cpus: 2}", ""},
		{"more cpus", `limits: {cpus: 2}`, "sandbox: {cpus: 2.5}", "cpus is more than the limit"},
		{"pids", `limits: {pids: 5}`, "sandbox: {pids: 6}", "pids is more than the limit"},
		{"open files", `limits: {open_files: 5}`, "sandbox: {open_files: 6}", "open_files is more than the limit"},
		{"read rate", `limits: {read_rate: 5MiB}`, "sandbox: {read_rate: 6MiB}", "read_rate is more than the limit"},
		{"write rate", `limits: {write_rate: 5MiB}`, "sandbox: {write_rate: 6MiB}", "write_rate is more than the limit"},
		{"idle", `limits: {idle: 30m}`, "sandbox: {idle: 31m}", "idle is more than the limit"},
		{"less idle", `limits: {idle: 30m}`, "sandbox: {idle: 29m}", ""},
		{"on violation", `limits: {on_violation: kill}`, "sandbox: {on_violation: freeze}", "user.yaml:2:25: on_violation freeze is milder than kill"},
		{"on violation, stricter", `limits: {on_violation: freeze}`, "sandbox: {on_violation: kill}", ""},
	} {
		_, err := layers(t, map[Layer]string{System: tt.limits, User: tt.low})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "system.yaml:2") || !strings.HasPrefix(err.Error(), "user.yaml:2:")):
			t.Errorf("%s: got %v; want %s, naming user.yaml:2 and system.yaml:2", tt.name, err, tt.want)
		}
		if key, _, _ := strings.Cut(strings.TrimPrefix(tt.limits, "limits: {"), ":"); tt.want != "" {
			tested[key] = true
		}
		// A layer's limits don't bind itself or those above it.
		if _, err := layers(t, map[Layer]string{User: tt.limits, System: tt.low}); err != nil {
			t.Errorf("%s: limits of a lower layer bind a higher one: %v", tt.name, err)
		}
		// And they bind all below, not only the next.
		lowest := Profile
		if strings.HasPrefix(tt.low, "egress: {approvers:") { // no profile has them
			lowest = CommandLine
		}
		if _, err := layers(t, map[Layer]string{System: tt.limits, lowest: tt.low}); (err != nil) != (tt.want != "") {
			t.Errorf("%s: profile: %v", tt.name, err)
		}
	}
	_, err := Parse("f", User, []byte("version: 1\nlimits: {zzzzzzzzz: 1}"))
	_, list, ok := strings.Cut(err.Error(), "known here: ")
	for _, key := range strings.Split(list, ", ") {
		if !ok || !tested[key] {
			t.Errorf("nothing is refused for limits.%s", key)
		}
	}
}

// TestInvariant11Layers: what a higher layer denies or limits, a lower one can't undo.
func TestInvariant11Layers(t *testing.T) {
	deny := "egress: {deny: [{host: '*.evil.example'}]}"
	allow := "egress: {default: allow, allow: [{host: x.evil.example}, {host: '*'}]}"
	for low := User; low <= Profile; low++ {
		p, err := layers(t, map[Layer]string{System: deny, low: allow})
		if err != nil {
			t.Fatal(err)
		}
		if v := p.Decide(req(t, "https://x.evil.example/")); v.Action != hooks.Deny || v.Rule.Layer != System {
			t.Errorf("the %s's allow undoes the system's deny: %+v", low, v)
		}
	}
	p, err := layers(t, map[Layer]string{System: deny}, Inline{"--allow", "x.evil.example"}, Inline{"--mode", "audit"})
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Decide(req(t, "https://x.evil.example/")); v.Action != hooks.Deny {
		t.Error("flags undo the system's deny")
	}
	if v := p.Decide(req(t, "https://y.example/")); v.Action != hooks.Allow || p.Mode() != Audit {
		t.Error("--mode audit has no effect")
	}
	if _, err := layers(t, map[Layer]string{System: "limits: {modes: [enforce]}"}, Inline{"--mode", "audit"}); err == nil {
		t.Error("--mode audit against limits.modes")
	}
	for _, l := range []string{"egress: ['*']", "protocols: [https]"} {
		if _, err := layers(t, map[Layer]string{System: "limits: {" + l + "}"}, Inline{"--mode", "audit"}); err == nil {
			t.Errorf("--mode audit against limits.%s", l)
		}
	}
	if _, err := layers(t, map[Layer]string{System: "limits: {egress: ['*.a']}"}, Inline{"--mode", "audit"}); err == nil {
		t.Error("--mode audit against limits.egress")
	}
	for _, mode := range []string{"audit", "ask"} {
		if _, err := layers(t, map[Layer]string{System: "egress: {default: deny}"}, Inline{"--mode", mode}); err == nil {
			t.Errorf("--mode %s against the system's default: deny", mode)
		}
	}
}

// TestAuditAsksNobody: what a higher layer has asked about is not let out by a lower
// layer's audit mode.
func TestAuditAsksNobody(t *testing.T) {
	const ask = "egress: {ask: [{host: a.example}]}"
	for _, tt := range []struct {
		texts  map[Layer]string
		inline []Inline
		want   string
	}{
		{map[Layer]string{System: ask}, []Inline{{"--mode", "audit"}}, "mode audit is not allowed: rule {host: a.example} at "},
		{map[Layer]string{System: ask, User: "egress: {default: allow}"}, nil, "default: allow lets out what rule {host: a.example} at "},
		{map[Layer]string{User: ask, Project: "egress: {default: allow}"}, nil, "default: allow lets out what"},
		{map[Layer]string{User: ask}, []Inline{{"--mode", "audit"}}, ""},
		{map[Layer]string{Project: ask, User: "egress: {default: allow}"}, nil, ""},
	} {
		p, err := layers(t, tt.texts, tt.inline...)
		if tt.want == "" {
			if err != nil {
				t.Fatal(err)
			}
			v := p.Decide(req(t, "https://a.example/"))
			if v.Action != hooks.Allow || !strings.Contains(v.Reason, "would ask") || !strings.Contains(fmt.Sprint(p.Warnings()), "asks nobody in audit mode") {
				t.Errorf("%v: %+v, %v", tt.texts, v, p.Warnings())
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v", tt.texts, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, tt := range []struct {
		system, user, project, mode string
		want                        hooks.Action
	}{
		{"", "", "", "", hooks.Deny},
		{"", "", "allow", "", hooks.Allow},
		{"", "deny", "allow", "", hooks.Deny},
		{"", "allow", "deny", "", hooks.Deny},
		{"", "ask", "allow", "", hooks.Ask},
		{"deny", "", "allow", "", hooks.Deny},
		{"allow", "", "", "", hooks.Allow},
		{"", "deny", "", "audit", hooks.Allow},
		{"", "", "deny", "audit", hooks.Allow},
		{"allow", "", "", "enforce", hooks.Deny},
		{"", "allow", "", "enforce", hooks.Deny},
		{"", "ask", "", "enforce", hooks.Ask},
		{"", "deny", "", "ask", hooks.Ask},
		{"", "", "allow", "ask", hooks.Ask},
		{"allow", "", "", "ask", hooks.Ask},
	} {
		texts := map[Layer]string{}
		for l, d := range map[Layer]string{System: tt.system, User: tt.user, Project: tt.project} {
			if d != "" {
				texts[l] = "egress: {default: " + d + "}"
			}
		}
		var inline []Inline
		if tt.mode != "" {
			inline = []Inline{{"--mode", tt.mode}}
		}
		p, err := layers(t, texts, inline...)
		if err != nil {
			t.Fatal(err)
		}
		if p.Default() != tt.want {
			t.Errorf("%+v: got %v", tt, p.Default())
		}
		got := p.Decide(req(t, "https://a.example/"))
		if (got.Action == hooks.Allow) != (tt.want == hooks.Allow) {
			t.Errorf("%+v: verdict %v", tt, got)
		}
		if tt.want == hooks.Ask && !strings.Contains(got.Reason, "nobody has approved") {
			t.Errorf("ask: reason %q", got.Reason)
		}
	}
}

// TestOnViolation: the strictest word of all layers holds.
func TestOnViolation(t *testing.T) {
	say := func(s string) string {
		if s == "" {
			return ""
		}
		return "sandbox: {on_violation: " + s + "}"
	}
	for _, tt := range []struct{ system, user, profile, want, from string }{
		{"", "", "", "", ""},
		{say("freeze"), "", "", Freeze, "system.yaml:2"},
		{say("freeze"), say("continue"), "", Freeze, "system.yaml:2"},
		{say("freeze"), say("freeze"), "", Freeze, "system.yaml:2"},
		{say("continue"), say("kill"), say("freeze"), Kill, "user.yaml:2"},
		{"", "", say("kill"), Kill, "profile.yaml:2"},
		{"limits: {on_violation: freeze}", "", "", Freeze, "system.yaml:2"},
		{"limits: {on_violation: freeze}", say("kill"), "", Kill, "user.yaml:2"},
	} {
		p, err := layers(t, map[Layer]string{System: tt.system, User: tt.user, Profile: tt.profile})
		if err != nil {
			t.Fatal(err)
		}
		if v := p.Sandbox().OnViolation; v.V != tt.want || v.From.Ref() != tt.from {
			t.Errorf("%+v: got %s from %s", tt, v.V, v.From.Ref())
		}
	}
	p, err := layers(t, map[Layer]string{System: "limits: {idle: 30m}", User: "sandbox: {idle: 10m}"})
	if err != nil || p.Sandbox().Idle.V != 10*time.Minute || p.Sandbox().Idle.From.Layer != User {
		t.Errorf("idle %+v, %v", p.Sandbox().Idle, err)
	}
	if p, err = layers(t, map[Layer]string{System: "limits: {idle: 30m}"}); err != nil || p.Sandbox().Idle.V != 30*time.Minute {
		t.Errorf("idle by a limit only: %+v, %v", p.Sandbox().Idle, err)
	}
}

func TestLayersJoin(t *testing.T) {
	p, err := layers(t, map[Layer]string{
		System:  "sandbox: {memory: 1GiB}\nlimits: {pids: 100, tier: bwrap, hide: [/sys-secret]}\nenvironment: {set: {A: system, B: system}}\negress: {allow: [{host: s.example}]}",
		User:    "sandbox: {memory: 2GiB, tier: gvisor}\nenvironment: {pass: [LANG], set: {A: user}}\negress: {allow: [{host: u.example}]}",
		Project: "filesystem: {write: [sub]}\negress: {allow: [{host: p.example}]}\nsecrets: [{name: T, from: 'env:T', hosts: [p.example], header: x-t}]",
		Profile: "sandbox: {memory: 9GiB}\nenvironment: {set: {A: profile, C: profile}}\negress: {allow: [{host: f.example}]}\nsecrets: [{name: T, from: 'env:OTHER', hosts: [f.example], header: x-t}]",
	}, Inline{"--allow", "c.example"}, Inline{"--env", "B=flag"}, Inline{"--env", "TERM"}, Inline{"--sandbox", "bwrap"}, Inline{"--hide", "/srv/h"}, Inline{"--write", "/srv/w"}, Inline{"--read", "/srv/r"}, Inline{"--ca", "x.pem"}, Inline{"--add-host", "git.example:10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"s", "u", "p", "f", "c"} {
		if v := p.Decide(req(t, "https://"+h+".example/")); v.Action != hooks.Allow {
			t.Errorf("%s.example: %v", h, v)
		}
	}
	s := p.Sandbox()
	if s.Memory.V != 2<<30 || s.Memory.From.Ref() != "user.yaml:2" {
		t.Errorf("memory: %+v", s.Memory)
	}
	if s.PIDs.V != 100 || s.PIDs.From.Layer != System {
		t.Errorf("pids: %+v", s.PIDs)
	}
	if s.Tier.V != "bwrap" || s.Tier.From.Ref() != "--sandbox bwrap" || s.MinTier.V != "bwrap" {
		t.Errorf("tier: %+v", s)
	}
	e := p.Environment()
	got := map[string]string{}
	for _, v := range e.Set {
		got[v.Name] = v.Value
	}
	if got["A"] != "user" || got["B"] != "flag" || got["C"] != "profile" || !e.Passes("LANG") || !e.Passes("TERM") || e.Passes("PATH") || !e.ProxyVariables() {
		t.Errorf("environment: %+v", e)
	}
	if x := p.Secrets(); len(x) != 1 || x[0].Env != "T" {
		t.Errorf("secrets: %+v", x)
	}
	if a, ok := p.Host("git.example"); !ok || a.String() != "10.0.0.1" {
		t.Errorf("host: %v", a)
	}
	fs := p.Filesystem()
	if len(fs.Hide) != 2 || len(fs.Write) != 2 || len(fs.Read) != 1 {
		t.Errorf("filesystem: %+v", fs)
	}
	if ca := p.CAFiles(); len(ca) != 1 || !strings.HasSuffix(ca[0], "/policy/x.pem") {
		t.Errorf("ca: %v", ca)
	}
}

func TestLayerConflicts(t *testing.T) {
	secret := func(env string) string {
		return "secrets: [{name: T, from: 'env:" + env + "', hosts: [p.example], header: x-t}]"
	}
	for _, tt := range []struct{ user, project, want string }{
		{secret("A"), secret("B"), "secret T is here and at user.yaml:2, and they differ"},
		{secret("A"), secret("A"), ""},
		{secret("A"), "environment: {pass: [T]}", "T is a secret (user.yaml:2), so its value can't be passed to the pen"},
		{secret("A"), "environment: {set: {T: x}}", "T is a secret (user.yaml:2), so it can't be set"},
		{"egress: {hosts: {a.example: 1.1.1.1}}", "egress: {hosts: {a.example: 1.1.1.2}}", "a.example is 1.1.1.2 here and 1.1.1.1 at user.yaml:2"},
		{"egress: {hosts: {a.example: 1.1.1.1}}", "egress: {hosts: {a.example: 1.1.1.1}}", ""},
	} {
		_, err := layers(t, map[Layer]string{User: tt.user, Project: tt.project})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"egress: {default: allow}", "default: allow lets out everything"},
		{"egress: {allow: [{host: '*'}]}", `host "*" allows every name`},
		{"egress: {allow: [{host: '*.com'}]}", "every name of a top-level domain"},
		{"egress: {allow: [{cidr: 0.0.0.0/0}]}", "a great part of the internet"},
		{"egress: {allow: [{host: a.b, addresses: [169.254.169.254]}]}", "where clouds keep their credentials"},
		{"egress: {allow: [{host: a.b, addresses: [0.0.0.0/0]}]}", "where clouds keep their credentials"},
		{"egress: {allow: [{host: a.b, addresses: [127.0.0.1]}]}", "the host's own loopback"},
		{"egress: {hosts: {a.b: 127.0.0.1}}", "an address of the host itself"},
		{"environment: {pass: ['*']}", "the whole environment"},
		{"environment: {pass: [GITHUB_TOKEN]}", "looks like a credential"},
		{"filesystem: {read: [/a/b], hide: [/a]}", `the grant of "/a/b" has no effect`},
		{"egress: {allow: [{host: a.b, inspect: false}]}\nsecrets: [{name: T, from: 'env:T', hosts: [a.b], header: x-t}]", "secret T can't be put in"},
	} {
		p, err := layers(t, map[Layer]string{User: tt.text})
		if err != nil {
			t.Fatal(err)
		}
		if ws := p.Warnings(); len(ws) != 1 || !strings.Contains(ws[0].String(), tt.want) || !strings.HasPrefix(ws[0].String(), "user.yaml:") {
			t.Errorf("%s: %v", tt.text, ws)
		}
	}
	if p := mustPolicy(t, example); len(p.Warnings()) != 0 {
		t.Errorf("warnings about an ordinary policy: %v", p.Warnings())
	}
}

func TestInline(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--allow", "example.com", "{host: example.com}"},
		{"--allow", "Example.com:8443", "{host: example.com, ports: [8443]}"},
		{"--allow", "*.example.com", `{host: "*.example.com"}`},
		{"--allow", "*.example.com:8000-8010", `{host: "*.example.com", ports: ["8000-8010"]}`},
		{"--allow", "tcp://db.example:5432", "{host: db.example, protocol: tcp, ports: [5432]}"},
		{"--allow", "tls://a.example", "{host: a.example, protocol: tls}"},
		{"--allow", "https://a.example/my-org/**", `{host: a.example, protocol: https, paths: ["/my-org/**"]}`},
		{"--allow", "10.1.2.3:443", "{cidr: 10.1.2.3/32, ports: [443]}"},
		{"--allow", "10.0.0.0/8", "{cidr: 10.0.0.0/8}"},
		{"--allow", "[2001:db8::1]:443", `{cidr: "2001:db8::1/128", ports: [443]}`},
		{"--allow", "2001:db8::/32", `{cidr: "2001:db8::/32"}`},
		{"--allow", "host.penstock.internal:3000", "{host: host.penstock.internal, ports: [3000]}"},
		{"--deny", "a.example", "{host: a.example}"},
		{"--deny", "*", `{host: "*"}`},
		{"--deny", "a.example/admin/**", `{host: a.example, paths: ["/admin/**"]}`},
		{"--deny", "10.1.2.3/8", "! --deny 10.1.2.3/8: "},
		{"--deny", "[fd00::/200]", "! --deny [fd00::/200]: "},
		{"--allow", "", "! --allow : the rule has neither host nor cidr"},
		{"--allow", "tcp://db.example", "! --allow tcp://db.example: protocol tcp needs ports"},
		{"--allow", "ftp://a.example", `! --allow ftp://a.example: scheme "ftp" is unknown; did you mean "http"?`},
		{"--allow", "a.example:x", `! --allow a.example:x: port "x" is not a number`},
		{"--allow", "a.example:0", `! --allow a.example:0: port "0" is not a number`},
		{"--allow", "localhost:3000", "would never be used; a pen's localhost is its own and needs no rule; the host's is host.penstock.internal"},
		{"--allow", "host.penstock.internal", "needs ports"},
		{"--allow", "127.0.0.1:80", "would never be used"},
		{"--allow", "a\x1b[2J", `! "--allow a\x1b[2J"`},
		{"--allow", "]:1", "!"},
		{"--allow", ":1", "! --allow :1: host is empty"},
		{"--mode", "auditt", `mode "auditt" is unknown; did you mean "audit"?`},
		{"--sandbox", "none", `tier "none" is unknown`},
		{"--add-host", "a.example", "there is no address"},
		{"--add-host", "a.example:b", "is not an address"},
		{"--env", "A B", "is not a name of a variable"},
		{"--env", "A*=b", "is not a name of a variable"},
		{"--write", "*.x", "has a wildcard"},
		{"--bogus", "x", "is not about policy"},
	} {
		p, err := New(nil, Inline{tt.flag, tt.value})
		got := ""
		if err != nil {
			got = "! " + err.Error()
		} else if rules := p.Rules(); len(rules) == 1 {
			got = rules[0].Text
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s %q: got %s, want %s", tt.flag, tt.value, got, tt.want)
		}
	}
	p, err := New(nil, Inline{"--env", "TOKEN=secret"})
	if err != nil {
		t.Fatal(err)
	}
	if ref := p.Environment().Set[0].From.Ref(); ref != "--env TOKEN" {
		t.Errorf("provenance shows a value: %q", ref)
	}
}
