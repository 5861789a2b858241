package policy

import (
	"strings"
	"testing"
)

func TestSecretTies(t *testing.T) {
	const a = "{name: A, from: 'env:A', hosts: [a.example, '*.b.example', b.example], header: x-key}"
	for _, tt := range []struct {
		name, user, other string
		layer             Layer
		want              string // in the error
		left              string // the secrets of a policy that is good
	}{
		{"same place", a, "{name: B, from: 'env:B', hosts: [b.example], header: X-KEY}", Project, `.yaml:2:11: secrets B and A (user.yaml:2) both go in header X-Key to "b.example"`, ""},
		{"one file", a + ", {name: B, from: 'env:B', hosts: [a.example], header: x-key}", "", Project, `secrets B and A (user.yaml:2) both go in header X-Key to "a.example"`, ""},
		{"wildcards", a, "{name: B, from: 'file:/b', hosts: ['*.B.example'], header: x-key}", Project, `to "*.b.example"`, ""},
		{"prefix", a, "{name: B, from: 'env:B', hosts: [a.example], header: x-key, prefix: 'Key '}", Project, "both go in header X-Key", ""},
		{"bearer and basic", "{name: A, from: 'env:A', hosts: [a.example], bearer: true}", "{name: B, from: 'env:B', hosts: [a.example], basic: {user: u}}", Project, "both go in header Authorization", ""},
		{"query", "{name: A, from: 'env:A', hosts: [a.example], query: key}", "{name: B, from: 'env:B', hosts: [a.example], query: key}", Project, "both go in query parameter key", ""},
		{"field", "{name: A, from: 'env:A', hosts: [a.example], json: a.b}", "{name: B, from: 'env:B', hosts: [a.example], json: a.b}", Project, "both go in JSON field a.b", ""},
		{"AWS keys", "{name: A, hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:S', services: [s3], regions: [x]}}", "{name: B, from: 'env:B', hosts: [a.example], bearer: true}", Project, "both go in header Authorization", ""},
		{"variables", "{name: A, hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:S', services: [s3], regions: [x]}}", "{name: A_ACCESS_KEY_ID, from: 'env:B', hosts: [b.example], bearer: true}", Project, "secrets A_ACCESS_KEY_ID and A (user.yaml:2) are both variable A_ACCESS_KEY_ID", ""},
		{"more exactly", a, "{name: B, from: 'env:B', hosts: [x.b.example, '*.c.b.example'], header: x-key}", Project, "", "A B"},
		{"other place", a, "{name: B, from: 'env:B', hosts: [a.example], header: x-other}, {name: C, from: 'env:C', hosts: [a.example], query: X-Key}", Project, "", "A B C"},
		{"one value under two names", a, "{name: B, from: 'env:A', hosts: [a.example], header: x-key}", Project, "", "A B"},
		{"profile", a, "{name: B, from: 'env:B', hosts: [a.example], header: x-key}, {name: C, from: 'env:C', hosts: [c.example], header: x-key}", Profile, "", "A C"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := map[Layer]string{User: "secrets: [" + tt.user + "]"}
			if tt.other != "" {
				text[tt.layer] = "secrets: [" + tt.other + "]"
			}
			p, err := layers(t, text)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, s := range p.Secrets() {
				left = append(left, s.Name)
			}
			if got := strings.Join(left, " "); got != tt.left {
				t.Errorf("secrets %q, want %q", got, tt.left)
			}
		})
	}
}
