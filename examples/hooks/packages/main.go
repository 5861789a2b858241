// Package main is a hook that lets package managers read the packages of a list, allowed.txt,
// and no others: a name that a model made up, or one that is nearly another's, is not
// installed. It knows the public registries of npm, PyPI, Go and Rust.
//
// Its hazard is a path that the registry reads in another way: what it can't read
// is denied, not passed on. It is an example; nothing of Penstock imports it.
package main

import (
	_ "embed"
	"net/url"
	"strings"

	"github.com/penstock/penstock/hooks/wasm/guest"
)

//go:embed allowed.txt
var allowed string

func main() {} // is not called: see export_wasip1.go

// judge lets a request pass that reads a package of the list.
func judge(r *guest.Request) guest.Decision {
	if r.Method != "GET" && r.Method != "HEAD" {
		return guest.Deny("packages are only read here")
	}
	if r.Query != "" {
		return guest.Deny("packages are read without a query")
	}
	name, ok := packageOf(r.Host, r.Path)
	switch {
	case !ok:
		return guest.Deny("this is no package of a registry that the hook knows")
	case name == "" || listed(allowed, name):
		return guest.Next()
	}
	return guest.Deny(name + " is not in the list of packages")
}

// listed looks for a name in a list of names, of which those that end with /* stand for
// all below.
func listed(list, name string) bool {
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		entry := strings.TrimSpace(line)
		if below, ok := strings.CutSuffix(entry, "*"); ok && strings.HasSuffix(below, "/") && len(name) > len(below) && strings.HasPrefix(name, below) {
			return true
		}
		if entry != "" && entry == name {
			return true
		}
	}
	return false
}

// packageOf returns the package that a path is about, with its registry before it, or
// "" for what is about none and harmless.
func packageOf(host, path string) (name string, ok bool) {
	path, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "%\\") || strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return "", false
	}
	parts := strings.Split(strings.TrimSuffix(path[1:], "/"), "/")
	switch host {
	case "registry.npmjs.org", "registry.yarnpkg.com":
		name, ok = npm(parts)
		name = "npm:" + name
	case "pypi.org", "files.pythonhosted.org":
		name, ok = pypi(parts)
		name = "pypi:" + name
	case "proxy.golang.org", "sum.golang.org":
		if host == "sum.golang.org" && (path == "/supported" || path == "/latest" || parts[0] == "tile") {
			return "", true
		}
		name, ok = module(path)
		name = "go:" + name
	case "index.crates.io", "static.crates.io", "crates.io":
		if path == "/config.json" {
			return "", true
		}
		name, ok = crate(host, parts)
		name = "cargo:" + name
	}
	return name, ok
}

// npm reads /NAME..., /@SCOPE/NAME...
func npm(parts []string) (string, bool) {
	switch {
	case strings.HasPrefix(parts[0], "@") && len(parts) > 1:
		return parts[0] + "/" + parts[1], true
	case parts[0] == "" || parts[0] == "-" || parts[0][0] == '@':
		return "", false
	}
	return parts[0], true
}

// pypi reads /simple/NAME, /pypi/NAME/json and /packages/XX/YY/HASH/FILE.
func pypi(parts []string) (string, bool) {
	switch {
	case len(parts) == 2 && parts[0] == "simple", len(parts) > 2 && parts[0] == "pypi":
		return normal(parts[1]), parts[1] != ""
	case len(parts) == 5 && parts[0] == "packages":
		file := strings.TrimSuffix(parts[4], ".metadata")
		if wheel, ok := strings.CutSuffix(file, ".whl"); ok {
			name, _, ok := strings.Cut(wheel, "-")
			return normal(name), ok
		}
		source, ok := strings.CutSuffix(file, ".tar.gz")
		if i := strings.LastIndexByte(source, '-'); ok && i > 0 {
			return normal(source[:i]), true
		}
	}
	return "", false
}

// normal is a name as PEP 503 compares it.
func normal(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	return strings.Join(words, "-")
}

// module reads /MODULE/@v/FILE, /MODULE/@latest, /lookup/MODULE@VERSION (go.dev/ref/mod).
func module(path string) (string, bool) {
	name, found := strings.CutPrefix(path, "/lookup/")
	if found {
		name, _, found = strings.Cut(name, "@")
	} else if name, _, found = strings.Cut(path[1:], "/@"); !found {
		return "", false
	}
	var b strings.Builder
	upper := false
	for _, r := range name {
		if r == '!' {
			upper = true
			continue
		}
		if upper && 'a' <= r && r <= 'z' {
			r += 'A' - 'a'
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String(), found && name != ""
}

// crate reads the sparse index, whose last element is the name, and downloads.
func crate(host string, parts []string) (string, bool) {
	last := parts[len(parts)-1]
	switch {
	case host == "index.crates.io" && len(parts) > 1:
		return last, last != ""
	case host == "static.crates.io" && len(parts) > 2 && parts[0] == "crates":
		return parts[1], true
	case host == "crates.io" && len(parts) > 3 && strings.Join(parts[:3], "/") == "api/v1/crates":
		return parts[3], true
	}
	return "", false
}
