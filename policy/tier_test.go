package policy

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestTierLists: what may be used is what every layer's list has, in the order of
// strength, and what contradicts it is an error that names both lines.
func TestTierLists(t *testing.T) {
	for _, tt := range []struct {
		system, user, project string
		flag                  string
		want                  string // candidates
		from                  string
		err                   []string
	}{
		{want: ""},
		{user: "sandbox: {tiers: [bwrap]}", want: "bwrap", from: "user.yaml:2"},
		{user: "sandbox: {tiers: [bwrap, wasm, gvisor, firecracker]}", want: "wasm firecracker gvisor bwrap", from: "user.yaml:2"},
		{user: "sandbox: {tier: auto, tiers: [bwrap, gvisor]}", want: "gvisor bwrap", from: "user.yaml:2"},
		{user: "sandbox: {tier: bwrap, tiers: [bwrap, gvisor]}", want: "gvisor bwrap", from: "user.yaml:2"},
		// A lower layer takes away; what it adds has no effect.
		{system: "sandbox: {tiers: [gvisor, bwrap]}", user: "sandbox: {tiers: [bwrap]}", want: "bwrap", from: "user.yaml:2"},
		{system: "sandbox: {tiers: [gvisor]}", user: "sandbox: {tiers: [bwrap, gvisor]}", want: "gvisor", from: "system.yaml:2"},
		{system: "sandbox: {tiers: [gvisor, bwrap]}", user: "sandbox: {tiers: [wasm, bwrap]}", project: "sandbox: {tiers: [gvisor, bwrap]}", want: "bwrap", from: "user.yaml:2"},
		{system: "sandbox: {tiers: [gvisor]}", user: "sandbox: {tiers: [bwrap]}", err: []string{"user.yaml:2:18: tiers [bwrap] has none of [gvisor] at system.yaml:2"}},
		// The minimum cuts the list, and may not cut all of it, whoever sets it.
		{system: "limits: {tier: gvisor}", user: "sandbox: {tiers: [gvisor, bwrap]}", want: "gvisor", from: "user.yaml:2"},
		{user: "sandbox: {tiers: [gvisor, bwrap]}", project: "limits: {tier: gvisor}", want: "gvisor", from: "user.yaml:2"},
		{system: "limits: {tier: gvisor}", user: "sandbox: {tiers: [darwin, bwrap]}", err: []string{"user.yaml:2:18: every tier of [darwin, bwrap] is weaker than gvisor", "system.yaml:2"}},
		{user: "sandbox: {tiers: [bwrap]}", project: "limits: {tier: wasm}", err: []string{"every tier of [bwrap] is weaker than wasm", "project.yaml:2"}},
		// A named tier has to be on the list.
		{system: "sandbox: {tiers: [gvisor]}", user: "sandbox: {tier: bwrap}", err: []string{"user.yaml:2:17: tier bwrap is not in tiers [gvisor]", "system.yaml:2"}},
		{system: "sandbox: {tiers: [gvisor]}", flag: "bwrap", err: []string{"--sandbox bwrap: tier bwrap is not in tiers [gvisor]", "system.yaml:2"}},
		{system: "sandbox: {tiers: [gvisor]}", flag: "wasm", err: []string{"tier wasm is not in tiers [gvisor]"}},
		{system: "sandbox: {tiers: [gvisor, bwrap]}", flag: "bwrap", want: "gvisor bwrap", from: "system.yaml:2"},
		{user: "sandbox: {tier: bwrap, tiers: [gvisor]}", err: []string{"tier bwrap is not in tiers [gvisor]"}},
		{user: "sandbox: {tier: bwrap}", project: "sandbox: {tiers: [gvisor]}", err: []string{"project.yaml:2:18: tiers [gvisor] leaves out tier bwrap of user.yaml:2"}},
		{user: "sandbox: {tier: bwrap}", project: "sandbox: {tier: gvisor, tiers: [gvisor]}", want: "gvisor", from: "project.yaml:2"},
		{user: "sandbox: {tiers: [gvisor, bwrap]}", flag: "auto", want: "gvisor bwrap", from: "user.yaml:2"},
	} {
		var in []Inline
		if tt.flag != "" {
			in = append(in, Inline{"--sandbox", tt.flag})
		}
		p, err := layers(t, map[Layer]string{System: tt.system, User: tt.user, Project: tt.project}, in...)
		if tt.err != nil {
			for _, want := range tt.err {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%+v: error %v", tt, err)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		s := p.Sandbox()
		if got := strings.Join(s.Candidates(), " "); got != tt.want || s.Tiers.Set != (tt.want != "") || s.Tiers.Set && s.Tiers.From.Ref() != tt.from {
			t.Errorf("%+v: got %q from %s", tt, got, s.Tiers.From.Ref())
		}
		for _, tier := range tiers()[1:] {
			if want := !s.Tiers.Set || slices.Contains(s.Candidates(), tier); s.Accepts(tier) != want && !s.MinTier.Set {
				t.Errorf("%+v: accepts %s: %t", tt, tier, !want)
			}
		}
	}
	p, err := layers(t, map[Layer]string{System: "sandbox: {tiers: [gvisor]}", User: "sandbox: {tiers: [bwrap, gvisor]}"})
	if err != nil {
		t.Fatal(err)
	}
	if w := p.Warnings(); len(w) != 1 || w[0].String() != "user.yaml:2: tiers: bwrap has no effect: system.yaml:2 says [gvisor]" {
		t.Errorf("warnings %q", w)
	}
}

// TestTierListsNarrow: whatever layers say, another one never adds a candidate; and
// what the daemon's proxy makes of it under the floor is the same.
func TestTierListsNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	section := func() string {
		var list []string
		for _, i := range r.Perm(5)[:1+r.IntN(5)] {
			list = append(list, tiers()[1+i])
		}
		text := "sandbox: {tiers: " + tierNames(list) + "}\n"
		if r.IntN(3) == 0 {
			text += "limits: {tier: " + tiers()[1+r.IntN(5)] + "}\n"
		}
		return text
	}
	joined := 0
	for range 500 {
		texts := map[Layer]string{System: section(), User: section()}
		p, err := layers(t, texts)
		if err != nil {
			continue
		}
		texts[Project] = section()
		q, err := layers(t, texts)
		if err != nil {
			continue
		}
		joined++
		above, below := p.Sandbox(), q.Sandbox()
		for _, c := range below.Candidates() {
			if !slices.Contains(above.Candidates(), c) || !above.Accepts(c) {
				t.Fatalf("%q adds %s to %q", texts[Project], c, above.Candidates())
			}
		}
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var client Policy
		if err := json.Unmarshal(b, &client); err != nil {
			t.Fatal(err)
		}
		floor, err := Parse("system.yaml", System, []byte("version: 1\n"+texts[System]))
		if err != nil {
			t.Fatal(err)
		}
		under, err := UnderFloor(floor, &client)
		if err != nil {
			t.Fatal(err)
		}
		if s := under.Sandbox(); !slices.Equal(s.Candidates(), below.Candidates()) || s.Tiers.From != below.Tiers.From {
			t.Fatalf("under the floor %+v, by itself %+v", s.Tiers, below.Tiers)
		}
	}
	if joined < 50 {
		t.Errorf("only %d of the layers went together", joined)
	}
}
