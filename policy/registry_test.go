package policy

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestRegistry: what package managers read, and what else a registry has.
func TestRegistry(t *testing.T) {
	rules := map[string]string{
		"npm": "{kind: npm, packages: [left-pad, '@ours/*']}", "any npm": "npm", "npm below": "{kind: npm, prefix: /api/npm/x}",
		"pypi": "{kind: pypi, packages: [Some_Lib, numpy]}", "cargo": "{kind: cargo, packages: [serde_json, a, abc]}",
		"go": "{kind: go, packages: ['example.com/ours/*', github.com/Azure/sdk]}", "maven": "{kind: maven, packages: ['org.example:*', com.x.y:lib], prefix: /maven2}",
		"gem": "{kind: rubygems, packages: [rails, 'aws-*']}",
	}
	const notRead, other = "this is not what", "none of its packages"
	for _, tt := range []struct{ rule, path, want string }{
		{"npm", "/left-pad", ""}, {"npm", "/left-pad/1.3.0", ""}, {"npm", "/left-pad/latest", ""}, {"npm", "/left-pad/-/left-pad-1.3.0.tgz", ""},
		{"npm", "/@ours/lib", ""}, {"npm", "/@ours%2flib", ""}, {"npm", "/@ours%2Flib/1.0.0", ""}, {"npm", "/@ours/lib/-/lib-1.0.0.tgz", ""}, {"npm", "/@ours/lib/-/@ours/lib-1.0.0.tgz", ""},
		{"npm", "/-/package/left-pad/dist-tags", ""}, {"npm", "/-/package/@ours%2Flib/dist-tags", ""}, {"npm", "/-/ping", ""}, {"npm", "/-/npm/v1/keys", ""},
		{"npm", "/left-pads", other}, {"npm", "/@theirs/lib", other}, {"npm", "/@theirs%2flib", other}, {"npm", "/@ours/lib/-/evil-1.0.0.tgz", notRead}, {"npm", "/evil/-/left-pad-1.3.0.tgz", notRead},
		{"npm", "/left-pad%2fx", notRead}, {"npm", "/left-pad/", notRead}, {"npm", "/left-pad//1.0", notRead}, {"npm", "/-/whoami", notRead}, {"npm", "/-/npm/v1/tokens", notRead}, {"npm", "/-/npm/v1/user", notRead},
		{"npm", "/-/user/org.couchdb.user:x", notRead}, {"npm", "/-/package/evil/dist-tags", other}, {"npm", "/-/package/left-pad/dist-tags/latest", notRead}, {"npm", "/-/v1/search", notRead}, {"npm", "/", notRead},
		{"npm", "/left-pad?write=true", "does not read packages"}, {"npm", "POST /-/npm/v1/security/advisories/bulk", "does not read packages"}, {"npm", "PUT /left-pad", "does not read packages"}, {"npm", "DELETE /left-pad/-rev/1", "does not read packages"},
		{"any npm", "/evil", ""}, {"any npm", "/@any/thing", ""}, {"any npm", "/-/whoami", notRead}, {"any npm", "/_all", notRead}, {"any npm", "/a/b/c", notRead}, {"any npm", "PUT /evil", "does not read packages"},
		{"npm below", "/api/npm/x/evil", ""}, {"npm below", "/evil", "does not read packages"}, {"npm below", "/api/npm/xx/evil", "does not read packages"}, {"npm below", "/api/npm/x/../y/evil", "does not read packages"},
		{"pypi", "/simple/", ""}, {"pypi", "/simple/some-lib/", ""}, {"pypi", "/simple/Some.Lib", ""}, {"pypi", "/pypi/numpy/json", ""}, {"pypi", "/pypi/numpy/1.0/json", ""},
		{"pypi", "/packages/ab/cd/ef/some_lib-1.0-py3-none-any.whl", ""}, {"pypi", "/packages/ab/cd/ef/some_lib-1.0-py3-none-any.whl.metadata", ""}, {"pypi", "/packages/numpy-2.0.tar.gz", ""},
		{"pypi", "/simple/some-lib-x/", other}, {"pypi", "/simple/evil/", other}, {"pypi", "/packages/ab/numpy-evil-1.0.tar.gz", other}, {"pypi", "/packages/numpy/evil-1.0-py3-none-any.whl", other}, {"pypi", "/packages/numpy", notRead}, {"pypi", "/packages/-1.tar.gz", notRead},
		{"pypi", "/legacy/", notRead}, {"pypi", "POST /legacy/", "does not read packages"}, {"pypi", "/simple/numpy/x/", notRead}, {"pypi", "/manage/projects", notRead},
		{"cargo", "/config.json", ""}, {"cargo", "/se/rd/serde_json", ""}, {"cargo", "/se/rd/serde-json", ""}, {"cargo", "/1/a", ""}, {"cargo", "/3/a/abc", ""}, {"cargo", "/crates/serde_json/serde_json-1.0.0.crate", ""}, {"cargo", "/crates/serde_json/1.0.0/download", ""}, {"cargo", "/api/v1/crates/serde_json/1.0.0/download", ""},
		{"cargo", "/se/rd/serde", other}, {"cargo", "/xx/yy/serde_json", notRead}, {"cargo", "/2/a", notRead}, {"cargo", "/3/b/abc", notRead}, {"cargo", "/api/v1/crates/new", notRead}, {"cargo", "/api/v1/me", notRead}, {"cargo", "PUT /api/v1/crates/new", "does not read packages"}, {"cargo", "/crates/serde_json/evil-1.crate", notRead},
		{"go", "/example.com/ours/lib/@v/list", ""}, {"go", "/example.com/ours/lib/v2/@v/v2.0.0.zip", ""}, {"go", "/github.com/!azure/sdk/@latest", ""}, {"go", "/github.com/!azure/sdk/@v/v1.0.0+incompatible.mod", ""}, {"go", "/sumdb/sum.golang.org/supported", ""},
		{"go", "/sumdb/sum.golang.org/lookup/example.com/ours/lib@v1.0.0", ""}, {"go", "/sumdb/sum.golang.org/tile/8/0/x123/456", ""}, {"go", "/tile/8/data/001.p/17", ""}, {"go", "/sumdb/sum.golang.org/latest", ""},
		{"go", "/example.com/ours", notRead}, {"go", "/example.com/theirs/@v/list", other}, {"go", "/github.com/azure/sdk/@latest", other}, {"go", "/github.com/Azure/sdk/@latest", notRead}, {"go", "/example.com/ours/lib/@v/x.txt", notRead}, {"go", "/lookup/example.com/theirs@v1", other},
		{"go", "/tile/secret/x", notRead}, {"go", "/lookup/example.com/ours/x", notRead}, {"go", "/example.com/ours/@v/@v/list", notRead},
		{"maven", "/maven2/org/example/lib/1.0/lib-1.0.jar", ""}, {"maven", "/maven2/org/example/lib/1.0/lib-1.0.pom.sha1", ""}, {"maven", "/maven2/org/example/lib/maven-metadata.xml", ""}, {"maven", "/maven2/org/example/lib/1.0-SNAPSHOT/maven-metadata.xml", ""}, {"maven", "/maven2/com/x/y/lib/2/lib-2.jar", ""},
		{"maven", "/maven2/com/x/y/other/2/other-2.jar", other}, {"maven", "/maven2/org/example/sub/lib/1.0/lib-1.0.jar", other}, {"maven", "/org/example/lib/1.0/lib-1.0.jar", "does not read packages"}, {"maven", "/maven2/org/example/lib/1.0/evil.jar", notRead}, {"maven", "/maven2/archetype-catalog.xml", notRead},
		{"gem", "/versions", ""}, {"gem", "/info/rails", ""}, {"gem", "/gems/rails-7.1.0.gem", ""}, {"gem", "/gems/aws-sdk-s3-1.2.3.gem", ""}, {"gem", "/gems/rails-7.1.0-x86_64-linux-musl.gem", ""}, {"gem", "/quick/Marshal.4.8/rails-7.1.0.gemspec.rz", ""}, {"gem", "/specs.4.8.gz", ""},
		{"gem", "/info/evil", other}, {"gem", "/gems/rails-evil-1.0.gem", other}, {"gem", "/gems/rails-2-evil-1.0.gem", other}, {"gem", "/gems/rails", notRead}, {"gem", "/api/v1/gems", notRead}, {"gem", "POST /api/v1/gems", "does not read packages"}, {"gem", "/api/v1/api_key", notRead},
	} {
		method, path, ok := strings.Cut(tt.path, " ")
		if !ok {
			method, path = "GET", tt.path
		}
		p := mustPolicy(t, "version: 1\negress: {allow: [{host: h.example, registry: "+rules[tt.rule]+"}]}")
		v := p.Decide(speaking(t, method+" https://h.example"+path))
		if (v.Action == hooks.Allow) != (tt.want == "") || !strings.Contains(v.Reason, tt.want) {
			t.Errorf("%s: %s: %s %s, want %q", tt.rule, tt.path, v.Action, v.Reason, tt.want)
		}
	}
}

// FuzzRegistry: under a rule about one package no path that does not name it is
// allowed, but for those that tell of all packages; and none with what only those
// who publish need.
func FuzzRegistry(f *testing.F) {
	for _, s := range []string{"/only", "/@s%2fonly", "/only/-/only-1.tgz", "/simple/only/", "/packages/a/only-1-py3-none-any.whl", "/on/ly/only", "/only/@v/list", "/lookup/only@v1", "/g/only/1/only-1.jar", "/gems/only-1.0.gem", "/-/whoami", "/tile/8/0/001"} {
		f.Add(s)
	}
	var all []*Policy
	for _, kind := range registryKinds() {
		name := map[string]string{"maven": "g:only"}[kind]
		if name == "" {
			name = "only"
		}
		all = append(all, mustPolicy(f, "version: 1\negress: {allow: [{host: h.example, registry: {kind: "+kind+", packages: ['"+name+"']}}]}"))
	}
	r := speaking(f, "GET https://h.example/")
	f.Fuzz(func(t *testing.T, path string) {
		path, err := CanonicalPath(path)
		if err != nil {
			return
		}
		r.Path = path
		for i, p := range all {
			if p.Decide(r).Action != hooks.Allow {
				continue
			}
			kind := registryKinds()[i]
			whole := strings.Contains("/-/ping /-/npm/v1/keys /simple /simple/ /config.json /latest /versions /names /specs.4.8.gz /latest_specs.4.8.gz /prerelease_specs.4.8.gz ", path+" ") ||
				kind == "go" && (strings.HasPrefix(path, "/sumdb/") || strings.HasPrefix(path, "/tile/"))
			if !whole && !strings.Contains(strings.ToLower(path), "only") || strings.Contains(path, "whoami") || strings.Contains(path, "token") && !strings.Contains(path, "only") && kind != "go" {
				t.Errorf("%s: %s is allowed", kind, path)
			}
		}
	})
}
