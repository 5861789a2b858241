package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

// What is kept is the most that any matching rule asks for, in whatever order they
// stand, of what is read and allowed only.
func TestCapture(t *testing.T) {
	rules := []string{
		`{host: api.example}`,
		`{host: api.example, methods: [POST], capture: {request: 64KiB}}`,
		`{host: "*.example", capture: {request: 1KiB, response: 2KiB}}`,
		`{host: other.test, methods: [POST], capture: {response: 1MiB}}`,
		`{host: other.test, methods: [GET]}`,
	}
	for range 2 {
		p := mustPolicy(t, "version: 1\negress: {allow: ["+strings.Join(rules, ", ")+"], deny: [{host: evil.example}]}")
		for _, tt := range []struct{ req, want string }{
			{"GET https://api.example/", "{request: 1KiB, response: 2KiB}"},
			{"POST https://api.example/", "{request: 64KiB, response: 2KiB}"},
			{"GET http://x.example/", "{request: 1KiB, response: 2KiB}"},
			{"POST https://other.test/", "{response: 1MiB}"},
			{"GET https://other.test/", ""},
			{"GET https://evil.example/", ""},
			{"GET https://unknown.test/", ""},
		} {
			v := p.Decide(req(t, tt.req))
			got := ""
			if v.Capture != nil {
				got = v.Capture.String()
			}
			if got != tt.want {
				t.Errorf("%s: %s, want %s", tt.req, got, tt.want)
			}
		}
		if n := len(p.Captures()); n != 3 {
			t.Errorf("%d rules capture", n)
		}
		b, err := json.Marshal(p)
		var q Policy
		if err == nil {
			err = json.Unmarshal(b, &q)
		}
		if err != nil || len(q.Captures()) != 3 || q.Captures()[0].Text != p.Captures()[0].Text {
			t.Errorf("on its way to the proxy: %v", err)
		}
		for i, j := 0, len(rules)-1; i < j; i, j = i+1, j-1 {
			rules[i], rules[j] = rules[j], rules[i]
		}
	}
}
