package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(full))
	f.Add([]byte("version: 1\na: &a [*a]\n"))
	f.Add([]byte("version: 1\negress: {allow: [{host: a, when: 'request.path == \"/\"'}], deny: [{host: '*', when: 'true'}]}\n"))
	f.Add([]byte("version: 1\nhooks:\n- {name: a, on: [request], hosts: ['*.a', '::/0'], cel: '\"next\"', timeout: 1s, concurrency: 2}\n- {name: b, on: [request], http: 'https://a.b:8443/c/%62?d=%20', key: 'file:k'}\n"))
	f.Add([]byte("version: 1\negress: {allow: [{host: a, git: {repos: [o/r, 'x/**'], push: true, branches: ['a*'], tags: [v1], delete: true, force: true}}, {host: b.a, grpc: {services: [a.B/C*]}}, {host: c.a, jsonrpc: {methods: [tools/call], tools: ['x*'], answers: true, max_body: 2MiB}}, {host: d.a, graphql: {operations: [query, mutation], fields: [a, 'b*'], max_body: 1MiB}}, {host: e.a, registry: {kind: npm, packages: ['@a/*'], prefix: /x}}, {host: f.a, registry: pypi}]}\n"))
	f.Add([]byte("version: 1\negress: {allow: [{host: \"*.a\", paths: [\"/%2e\"]}]}\n"))
	f.Add([]byte("version: 1\nsecrets: [{name: A, from: 'keyring:a=b,c=d', hosts: [a.example], bearer: true}, {name: B, from: 'keyring:a b', hosts: [b.example], bearer: true}]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("f", Project, src)
		if err != nil {
			if s := strings.ReplaceAll(err.Error(), "\n", ""); !isPrintableASCII(s) {
				t.Errorf("unsafe error %q", s)
			}
			return
		}
		p, err := New([]*File{file})
		if err != nil {
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Policy
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if p.Hash() != q.Hash() {
			t.Errorf("a round trip changes the policy: %s", b)
		}
		var shown bytes.Buffer
		if err := p.Show(&shown, false); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("shown", Project, shown.Bytes())
		if err != nil {
			t.Fatalf("what is shown does not parse: %v\n%s", err, shown.Bytes())
		}
		s, err := New([]*File{again})
		if err != nil {
			t.Fatalf("what is shown does not join: %v\n%s", err, shown.Bytes())
		}
		for _, r := range []string{"https://api.example.com/v1/x", "https://a/", "tcp://db.example:6005", "https://10.20.1.1/", "http://b.a:80/a"} {
			r := req(t, r)
			v := p.Decide(r)
			if a := q.Decide(r); a.Action != v.Action || a.Reason != v.Reason {
				t.Errorf("%s: %v after a round trip, was %v", describe(r), a, v)
			}
			if a := s.Decide(r); a.Action != v.Action {
				t.Errorf("%s: %v as shown, was %v", describe(r), a, v)
			}
		}
	})
}

func FuzzCanonicalHost(f *testing.F) {
	for _, s := range []string{"Example.COM.", "bücher.example", "xn--bcher-kva.example", "127.1", "a..b", "ｅ．c", "a\u00adb", "xn--a", "１２７.1", "a_b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := CanonicalHost(s)
		if err != nil {
			if h != "" || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %q, %q", s, h, err)
			}
			return
		}
		if !isCanonicalHost(h) || checkHost(h) != nil {
			t.Errorf("%q: %q is not canonical", s, h)
		}
		if again, err := CanonicalHost(h); err != nil || again != h {
			t.Errorf("%q: %q becomes %q, %v", s, h, again, err)
		}
		for _, other := range []string{strings.ToUpper(h), h + "."} {
			if again, err := CanonicalHost(other); err != nil || again != h {
				t.Errorf("%q becomes %q, %v", other, again, err)
			}
		}
	})
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "/..%2f", "/%252e%252e%252f", "/..;/x", "/a//b", "/é", "/a%5c..%5c", "/%25%32%65"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := CanonicalPath(s)
		if err != nil {
			if p != "" || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %q, %q", s, p, err)
			}
			return
		}
		if again, err := CanonicalPath(p); err != nil || again != p {
			t.Errorf("%q: %q becomes %q, %v", s, p, again, err)
		}
		if !isPrintableASCII(p) || p == "" {
			t.Errorf("%q: %q is not printable ASCII", s, p)
		}
		if p == "*" {
			return
		}
		// However deep somebody decodes it, no dot segment appears.
		for d := p; ; {
			for _, seg := range strings.FieldsFunc(d, func(r rune) bool { return r == '/' || r == '\\' }) {
				if seg, _, _ = strings.Cut(seg, ";"); seg == "." || seg == ".." {
					t.Errorf("%q: %q holds %q when decoded to %q", s, p, seg, d)
				}
			}
			next := decodeOnce(d)
			if next == d {
				break
			}
			d = next
		}
		var out [maxReadings]string
		if n := readings(p, &out); n < 1 || out[0] == "" || out[0][0] != '/' {
			t.Errorf("%q: readings %q", p, out)
		}
	})
}

// decodeOnce is one server's decoding, that leaves alone what is no triplet.
func decodeOnce(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if c, ok := triplet(s, i); ok {
			b = append(b, c)
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"a.example", "a:80", "[::1]:80", "https://a/x?y#z", "tcp://a:22", "1.2.3.4", "::ffff:1.2.3.4", "a@b", "fe80::1%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			if target != (hooks.Target{}) || !isPrintableASCII(err.Error()) {
				t.Errorf("%q: %v, %q", s, target, err)
			}
			return
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Errorf("%q: %v becomes %v, %v", s, target, again, err)
		}
		if why := unfit(&hooks.Request{Protocol: hooks.ProtocolTCP, Target: target}); why != "" {
			t.Errorf("%q: %v: %s", s, target, why)
		}
	})
}

// FuzzMatchPath holds the matcher to the definition, written as recursion.
func FuzzMatchPath(f *testing.F) {
	f.Add("/a/**/b*", "/a/x/y/bc")
	f.Add("/**/**/*", "/")
	f.Add("/*a*b*/**", "/aabb/c")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 40 || len(path) > 40 || pattern == "" || pattern[0] != '/' || path == "" || path[0] != '/' {
			return
		}
		want := naivePath(strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/"))
		if got := matchPath(pattern, path); got != want {
			t.Errorf("%q on %q: got %v", pattern, path, got)
		}
	})
}

func naivePath(p, s []string) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == "**" {
		for i := 0; i <= len(s); i++ {
			if naivePath(p[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	return len(s) > 0 && naiveSegment(p[0], s[0]) && naivePath(p[1:], s[1:])
}

func naiveSegment(p, s string) bool {
	if p == "" {
		return s == ""
	}
	if p[0] == '*' {
		return naiveSegment(p[1:], s) || s != "" && naiveSegment(p, s[1:])
	}
	return s != "" && p[0] == s[0] && naiveSegment(p[1:], s[1:])
}

// FuzzHost: a wildcard covers exactly what is below it, by the plain definition.
func FuzzHostPattern(f *testing.F) {
	f.Add("*.example.com", "a.example.com")
	f.Add("*.example.com", "evilexample.com")
	f.Fuzz(func(t *testing.T, pattern, host string) {
		p, err := parseHostPattern(pattern)
		if err != nil {
			return
		}
		h, err := CanonicalHost(host)
		if err != nil {
			return
		}
		want := h == p.name
		if p.wild {
			want = h != HostInternal && (p.name == "" || strings.HasSuffix("."+h, "."+p.name) && h != p.name)
		}
		if p.matches(h) != want {
			t.Errorf("%s on %s: got %v", p, h, !want)
		}
	})
}

// FuzzKeyringItem: what is taken for an item is written so that it means the same.
func FuzzKeyringItem(f *testing.F) {
	f.Add("service=penstock,account=a=b")
	f.Add("A label, with a comma")
	f.Add("b=1,a=2,")
	f.Fuzz(func(t *testing.T, s string) {
		i, msg := parseKeyringItem(s)
		if msg != "" {
			return
		}
		if !validKeyring(i.String()) || (i.Label == "") == (len(i.Attributes) == 0) {
			t.Errorf("%q: %q", s, i)
		}
		for k, v := range i.Attributes {
			if !strings.Contains(","+s+",", ","+k+"="+v+",") {
				t.Errorf("%q: attribute %q=%q", s, k, v)
			}
		}
	})
}
