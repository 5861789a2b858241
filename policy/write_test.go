package policy

import (
	"errors"
	"strings"
	"testing"
)

const added = `{host: new.example, protocol: https, methods: [GET, HEAD, OPTIONS]}`

func TestAddRule(t *testing.T) {
	for name, tt := range map[string]struct{ text, list, want string }{
		"no egress":      {"version: 1\n# end", "allow", "version: 1\n# end\negress:\n  allow:\n    - R\n"},
		"no list":        {"version: 1\negress:\n   # mine\n   default: ask # x\n\n# more\nlimits: {ca: true}\n", "allow", "version: 1\negress:\n   # mine\n   default: ask # x\n   allow:\n     - R\n\n# more\nlimits: {ca: true}\n"},
		"list":           {"version: 1\negress:\n  allow:\n  # one\n  - host: a.example\n    methods:\n      - GET # x\n\n  # not of it\n  deny: []\n", "allow", "version: 1\negress:\n  allow:\n  # one\n  - host: a.example\n    methods:\n      - GET # x\n  - R\n\n  # not of it\n  deny: []\n"},
		"block scalar":   {"version: 1\negress:\n  allow:\n    - host: a.example\n      when: |\n        true ||\n\n        false\nlimits: {}\n", "allow", "version: 1\negress:\n  allow:\n    - host: a.example\n      when: |\n        true ||\n\n        false\n    - R\nlimits: {}\n"},
		"flow list":      {"version: 1\negress:\n  deny: [{host: a.example}]\n", "deny", "version: 1\negress:\n  deny: [R, {host: a.example}]\n"},
		"empty list":     {"version: 1\negress: {allow: [], default: ask}", "allow", "version: 1\negress: {allow: [R], default: ask}"},
		"flow section":   {"version: 1\negress: {default: ask} # ü\n", "allow", "version: 1\negress: {allow: [R], default: ask} # ü\n"},
		"after letters":  {"version: 1\negress: {hosts: {ü.example: 1.1.1.1}, allow: [{host: é.example}]}\n", "allow", "version: 1\negress: {hosts: {ü.example: 1.1.1.1}, allow: [R, {host: é.example}]}\n"},
		"there already":  {"version: 1\negress: {allow: [R]}\n", "allow", "version: 1\negress: {allow: [R]}\n"},
		"other list":     {"version: 1\negress:\n  allow: [R]\n", "deny", "version: 1\negress:\n  allow: [R]\n  deny:\n    - R\n"},
		"section at end": {"version: 1\negress:\n  default: ask", "deny", "version: 1\negress:\n  default: ask\n  deny:\n    - R\n"},
	} {
		in, want := strings.ReplaceAll(tt.text, "R", added), strings.ReplaceAll(tt.want, "R", added)
		got, err := AddRule([]byte(in), tt.list, added)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
			continue
		}
		if _, err := Parse("x", User, got); err != nil && name != "flow list" {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := AddRule(nil, "allow", added)
	if err != nil || string(got) != "version: 1\negress:\n  allow:\n    - "+added+"\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, in := range []string{"", "{version: 1}", "version: 1\negress:\n", "version: 1\negress: []", "version: 1\r\n", "version: 1\negress:\n  allow: *x", "a: b\n...\n"} {
		var hint interface{ Hint() string }
		if got, err := AddRule([]byte(in), "allow", added); err == nil || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), added) {
			t.Errorf("%q became %q, %v", in, got, err)
		}
	}
}

// FuzzAddRule: what comes out has the rule and is otherwise what went in.
func FuzzAddRule(f *testing.F) {
	f.Add("version: 1\negress:\n  allow:\n    - host: a.example\n")
	f.Add("version: 1\negress: {default: ask}\n")
	f.Add("version: 1\negress:\n  allow:\n    - host: a\n      when: |2\n          x\n  deny: []\n")
	f.Fuzz(func(t *testing.T, s string) {
		was, err := Parse("f", User, []byte(s))
		if err != nil {
			return
		}
		out, err := AddRule([]byte(s), "allow", added)
		if err != nil {
			return
		}
		is, err := Parse("f", User, out)
		if err != nil {
			t.Fatalf("%q became %q: %v", s, out, err)
		}
		count := func(f *File, text string) (n int) {
			for _, r := range f.rules {
				if r.list()+r.Text == text {
					n++
				}
			}
			return n
		}
		if count(is, "allow"+added) == 0 {
			t.Fatalf("%q became %q", s, out)
		}
		for _, r := range was.rules {
			if count(is, r.list()+r.Text) < count(was, r.list()+r.Text) {
				t.Fatalf("%q became %q without %s", s, out, r.Text)
			}
		}
	})
}
