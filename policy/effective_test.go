package policy

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestEffectiveIsComplete: every key of the language is listed, whoever set it,
// and Show says the same of each.
func TestEffectiveIsComplete(t *testing.T) {
	whole := full + `  egress: ["*.github.com", api.example.com, 0.0.0.0/0, "::/0"]
  protocols: [http, https, tls, tcp]
  via: [corp, direct]
  hide: [/srv/h]
  write: [/srv]
  modes: [enforce, audit]
  ca: true
  approvers: true
  cpus: 8
  pids: 1000
  open_files: 5000
  read_rate: 200MiB
  write_rate: 200MiB
  timeout: 3h
  idle: 1h
  on_violation: continue
hooks:
  - {name: no-tokens, on: [request], hosts: ["*"], cel: '"next"', timeout: 1s, concurrency: 2}
`
	s, err := jsonschema.NewCompiler().Compile("../docs/schema/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	p := mustPolicy(t, whole)
	var shown bytes.Buffer
	if err := p.Show(&shown, true); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, e := range p.Effective() {
		got[e.Key] = true
		if e.Layer != "user" || !strings.HasPrefix(e.From, "p.yaml:") || e.Value == "" {
			t.Errorf("%+v", e)
		}
		value := strings.Trim(e.Value, "{}")
		if strings.HasPrefix(e.Key, "environment.set") || strings.HasPrefix(e.Key, "egress.hosts") {
			value += " "
		}
		if !slices.ContainsFunc(strings.Split(shown.String(), "\n"), func(line string) bool {
			return strings.Contains(line, value) && strings.HasSuffix(line, "# "+e.From+" (user)")
		}) {
			t.Errorf("Show has no line for %+v", e)
		}
	}
	for section, sub := range s.Properties {
		for sub.Ref != nil {
			sub = sub.Ref
		}
		keys := []string{section}
		if section == "version" {
			continue
		}
		if sub.Properties != nil {
			keys = nil
			for k := range sub.Properties {
				keys = append(keys, section+"."+k)
			}
		}
		for _, k := range keys {
			if !got[k] {
				t.Errorf("%s is not listed", k)
			}
		}
	}
	if f, err := Parse("shown", User, shown.Bytes()); err != nil {
		t.Errorf("%v\n%s", err, shown.Bytes())
	} else if q, err := New([]*File{f}); err != nil {
		t.Error(err)
	} else if more, less := Diff(p, q); len(more)+len(less) > 0 {
		t.Errorf("shown policy says more %v, less %v", more, less)
	}
	for _, e := range mustPolicy(t, "version: 1\n").Effective() {
		if e.From != builtIn || e.Layer != "" {
			t.Errorf("nobody set %+v", e)
		}
	}
}

// TestLimitsJoined: of several layers' limits the narrower holds, with its place.
func TestLimitsJoined(t *testing.T) {
	p, err := layers(t, map[Layer]string{
		System: `limits: {egress: ["*.corp.example", 10.0.0.0/8, x.example], protocols: [http, https], memory: 2GiB, tier: bwrap, write: [/srv], hide: [/a], on_violation: continue, idle: 1h}`,
		User:   `limits: {egress: ["git.corp.example", "*.example", 10.1.0.0/16, "::/0"], protocols: [https, tls], memory: 1GiB, tier: gvisor, write: [/srv/x, /opt], hide: [/a, /b], ca: false, on_violation: kill, idle: 2h, pids: 5}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	l := p.Limits()
	l.each(func(key, text string, _ bool, from Source) {
		got = append(got, fmt.Sprintf("%s: %s (%s)", key, text, from.Layer))
	})
	want := []string{
		`egress: git.corp.example (user)`, `egress: "*.corp.example" (system)`, `egress: "10.1.0.0/16" (user)`, `egress: x.example (system)`,
		`protocols: [https] (user)`, `hide: /a (system)`, `hide: /b (user)`, `write: /srv/x (user)`, `tier: gvisor (user)`, `ca: false (user)`,
		`memory: 1GiB (user)`, `pids: 5 (user)`, `idle: "1h0m0s" (system)`, `on_violation: kill (user)`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p, err = layers(t, map[Layer]string{System: "limits: {egress: [a.example], write: []}", User: "limits: {egress: [b.example]}"}); err != nil {
		t.Fatal(err)
	}
	if l := p.Limits(); !l.Egress.Set || len(l.Egress.V) != 0 || !l.Write.Set {
		t.Errorf("limits without anything in common: %+v", l)
	}
	if l := roundTrip(t, p).Limits(); !l.Egress.Set || len(l.Egress.V) != 0 {
		t.Errorf("limits are lost on the way: %+v", l)
	}
	// One pattern in two spellings is one.
	p = mustPolicy(t, "version: 1\nlimits: {egress: [a.example, A.example.], write: [/a, /a/]}\n")
	var b bytes.Buffer
	if err := p.Show(&b, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("shown", User, b.Bytes()); err != nil {
		t.Errorf("%v\n%s", err, b.Bytes())
	}
}
