package policy

import (
	"strings"
	"testing"
)

// TestKeyringLayers: only a person's own policy names what is in a keyring, and a
// caller of the daemon's can't say otherwise.
func TestKeyringLayers(t *testing.T) {
	const text = "version: 1\nsecrets: [{name: A, from: 'keyring:b=c,a=b', hosts: [a.example], bearer: true}]\n"
	for _, l := range []Layer{System, User, CommandLine} {
		f, err := Parse("f", l, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", l, err)
			continue
		}
		s := f.secrets[0]
		if s.Keyring != "a=b,b=c" || !s.validSource() {
			t.Errorf("%s: %q", l, s.Keyring)
		}
		s.From.Layer = Project
		if s.validSource() {
			t.Errorf("%s: valid as a project's", l)
		}
		s.From.Layer, s.Keyring = l, "b=c,a=b"
		if s.validSource() {
			t.Errorf("%s: valid although the parser does not write it so", l)
		}
		s.Keyring, s.Env = "a=b,b=c", "A"
		if s.validSource() {
			t.Errorf("%s: valid with two sources", l)
		}
	}
	for _, l := range []Layer{Project, Profile} {
		if _, err := Parse("f", l, []byte(text)); err == nil || !strings.Contains(err.Error(), "a project's policy can't name what is in a keyring") {
			t.Errorf("%s: %v", l, err)
		}
	}
}

// TestKeyringOthers: the same is so of proxies' passwords and webhooks' keys, and of
// commands.
func TestKeyringOthers(t *testing.T) {
	for _, from := range []string{"'keyring:a=b'", "{keyring: 'a=b'}", "{command: [pass, show, a]}"} {
		for owner, text := range map[string]string{
			"upstream": "version: 1\negress: {upstreams: {p: {url: 'http://p.example:1', from: " + from + "}}}\n",
			"hook":     "version: 1\nhooks: [{name: h, on: [request], http: 'https://h.example/', key: " + from + "}]\n",
		} {
			if _, err := Parse("f", User, []byte(text)); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if _, err := Parse("f", Project, []byte(text)); err == nil || !strings.Contains(err.Error(), "a project's policy can't ") || !strings.Contains(err.Error(), "declare the "+owner+" in your own policy") {
				t.Errorf("%s as a project's: %v", text, err)
			}
		}
	}
}

// TestKeyringTie: attributes in another order are the same source.
func TestKeyringTie(t *testing.T) {
	two := func(from string) error {
		f, err := Parse("f", User, []byte("version: 1\nsecrets: [{name: A, from: 'keyring:a=b,c=d', hosts: [a.example], bearer: true}, {name: B, from: '"+from+"', hosts: [a.example], bearer: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = New([]*File{f})
		return err
	}
	if err := two("keyring:c=d,a=b"); err != nil {
		t.Error(err)
	}
	if err := two("keyring:c=d,a=e"); err == nil {
		t.Error("two items for one place are taken")
	}
}
