package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"", "/", nil},
		{"*", "*", nil},
		{"/", "/", nil},
		{"/a/b", "/a/b", nil},
		{"/a/./b", "/a/b", nil},
		{"/a/../b", "/b", nil},
		{"/a/b/..", "/a/", nil},
		{"/a/b/.", "/a/b/", nil},
		{"/..", "/", nil},
		{"/../../etc", "/etc", nil},
		{"/a/%2e%2E/b", "/b", nil},
		{"/a/.%2e/b", "/b", nil},
		{"/%61/%7E%2d", "/a/~-", nil},
		{"/a%2fb", "/a%2Fb", nil},
		{"/@scope%2fname", "/@scope%2Fname", nil},
		{"/a%20b", "/a%20b", nil},
		{"/a//b", "/a//b", nil},
		{"/a//../b", "/a/b", nil},
		{"/...", "/...", nil},
		{"/.git/config", "/.git/config", nil},
		{"/a;b=c/d", "/a;b=c/d", nil},
		{"/100%25", "/100%25", nil},
		{"/%2525", "/%2525", nil},
		{"/é", "/%C3%A9", nil},
		{"/%c3%a9", "/%C3%A9", nil},
		{"/a\"b|c", "/a%22b%7Cc", nil},
		{"/web/http://example.com/", "/web/http://example.com/", nil},
		{"a", "", ErrPathForm},
		{"http://x/", "", ErrPathForm},
		{"/" + strings.Repeat("a", maxPath), "", ErrPathLong},
		{"/%", "", ErrPathEscape},
		{"/%zz", "", ErrPathEscape},
		{"/%2", "", ErrPathEscape},
		{"/%u002e", "", ErrPathEscape},
		{"/a b", "", ErrPathByte},
		{"/a\\b", "", ErrPathByte},
		{"/..\\b", "", ErrPathByte},
		{"/a\x00", "", ErrPathByte},
		{"/a\r\nHost: x", "", ErrPathByte},
		{"/a\x7f", "", ErrPathByte},
		{"/%00", "", ErrPathByte},
		{"/%0d%0a", "", ErrPathByte},
		{"/..%2fb", "", ErrPathAmbiguous},
		{"/a/..%2Fb", "", ErrPathAmbiguous},
		{"/a%2f..%2fb", "", ErrPathAmbiguous},
		{"/a%2f..", "", ErrPathAmbiguous},
		{"/%2e%2e%2f", "", ErrPathAmbiguous},
		{"/%2e%2e%5cb", "", ErrPathAmbiguous},
		{"/a%5c..%5cb", "", ErrPathAmbiguous},
		{"/%252e%252e%252fb", "", ErrPathAmbiguous},
		{"/%252e%252e/b", "", ErrPathAmbiguous},
		{"/%25252e%25252e/b", "", ErrPathAmbiguous},
		{"/%25%32%65%25%32%65/b", "", ErrPathAmbiguous},
		{"/..;/b", "", ErrPathAmbiguous},
		{"/..;x=y/b", "", ErrPathAmbiguous},
		{"/.;/b", "", ErrPathAmbiguous},
		{"/..%3b/b", "", ErrPathAmbiguous},
		{"/..%253b/b", "", ErrPathAmbiguous},
		{"/%2500", "", ErrPathAmbiguous},
		{"/..%20/b", "", ErrPathAmbiguous},
		{"/%c0%ae%c0%ae/b", "", ErrPathAmbiguous},
		{"/..%c0%afb", "", ErrPathAmbiguous},
		{"/%e0%80%ae%e0%80%ae/b", "", ErrPathAmbiguous},
		{"/．．/b", "", ErrPathAmbiguous},
	} {
		got, err := CanonicalPath(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
		if err != nil && !isPrintableASCII(err.Error()) {
			t.Errorf("%q: error is not printable ASCII: %q", tt.in, err)
		}
	}
}

func TestCanonicalPathDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = CanonicalPath("/v1/messages/batch@2:x") }); n != 0 {
		t.Errorf("a canonical path costs %v allocations", n)
	}
}

func TestMatchPath(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"/my-org/**", "/my-org", true},
		{"/my-org/**", "/my-org/", true},
		{"/my-org/**", "/my-org/a", true},
		{"/my-org/**", "/my-org/a/b/c", true},
		{"/my-org/**", "/my-organisation", false},
		{"/my-org/**", "/my-organisation/a", false},
		{"/my-org/**", "/", false},
		{"/my-org/*", "/my-org", false},
		{"/my-org/*", "/my-org/", true},
		{"/my-org/*", "/my-org/a", true},
		{"/my-org/*", "/my-org/a/b", false},
		{"/**", "/", true},
		{"/**", "/a/b", true},
		{"/", "/", true},
		{"/", "/a", false},
		{"/a/**/z", "/a/z", true},
		{"/a/**/z", "/a/b/c/z", true},
		{"/a/**/z", "/a/b/c/zz", false},
		{"/**/b/**/d", "/a/b/c/b/d", true},
		{"/**/b/**/d", "/a/c/d", false},
		{"/v*/x", "/v1/x", true},
		{"/v*/x", "/v/x", true},
		{"/v*/x", "/v1/2/x", false},
		{"/*.json", "/a.json", true},
		{"/*.json", "/a.json.exe", false},
		{"/*a*b*", "/xxaxxbxx", true},
		{"/*a*b*", "/xxbxxaxx", false},
		{"/a", "/a/", false},
		{"/a/", "/a", false},
		{"/a", "*", false},
		{"/**", "*", false},
	} {
		if got := matchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("%s on %s: got %v", tt.pattern, tt.path, got)
		}
	}
}

// TestPathReadings shows what an allow and a deny do with a path that servers
// read differently.
func TestPathReadings(t *testing.T) {
	for _, tt := range []struct {
		patterns, path string
		allow, deny    bool
	}{
		{`"/admin/**"`, "/admin/x", true, true},
		{`"/admin/**"`, "//admin/x", false, true},
		{`"/admin/**"`, "/admin%2Fx", false, true},
		{`"/admin/**"`, "/x%2F%2Fadmin", false, false},
		{`"/admin/**"`, "/admin;a=b/x", false, true},
		{`"/admin/**"`, "/%2561dmin/x", false, true},
		{`"/admin/**"`, "/public/x", false, false},
		{`"/api/*"`, "/api/a%2Fb", false, true},
		{`"/@scope/**", "/@scope%2F*"`, "/@scope%2fname", true, true},
		{`"/@scope/**"`, "/%40scope/name", true, true},
		{`"/%40scope/**"`, "/@scope/name", true, true},
		{`"/a%20b/**"`, "/a%20b/c", true, true},
		{`"/é/**"`, "/%c3%a9/c", true, true},
		{`"/%2A/x"`, "/y/x", false, false},
		{`"/web/**"`, "/web/http://example.com", true, true},
	} {
		text := "version: 1\negress:\n  default: DEFAULT\n  RULES: [{host: h.example, paths: [" + tt.patterns + "]}]\n"
		allow := mustPolicy(t, strings.NewReplacer("DEFAULT", "deny", "RULES", "allow").Replace(text))
		deny := mustPolicy(t, strings.NewReplacer("DEFAULT", "allow", "RULES", "deny").Replace(text))
		r := req(t, "https://h.example"+tt.path)
		if got := allow.Decide(r).Rule != nil; got != tt.allow {
			t.Errorf("allow %s on %s: got %v", tt.patterns, tt.path, got)
		}
		if got := deny.Decide(r).Rule != nil; got != tt.deny {
			t.Errorf("deny %s on %s: got %v", tt.patterns, tt.path, got)
		}
	}
}
