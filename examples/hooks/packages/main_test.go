package main

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks/wasm/guest"
)

func TestJudge(t *testing.T) {
	for request, want := range map[string]string{
		"GET registry.npmjs.org /react":                                                           "",
		"GET registry.npmjs.org /react/-/react-18.2.0.tgz":                                        "",
		"GET registry.npmjs.org /react?a=b":                                                       "without a query",
		"GET registry.npmjs.org /reakt":                                                           "npm:reakt is not in the list",
		"GET registry.npmjs.org /@types/node":                                                     "",
		"GET registry.npmjs.org /@types%2fnode":                                                   "",
		"GET registry.npmjs.org /@types%252f..%252freakt":                                         "no package",
		"GET registry.npmjs.org /@evil%2freact":                                                   "npm:@evil/react is not",
		"GET registry.npmjs.org /@types":                                                          "no package",
		"GET registry.npmjs.org /@types/":                                                         "no package",
		"GET registry.npmjs.org /react/../reakt":                                                  "no package",
		"GET registry.npmjs.org //reakt":                                                          "no package",
		"GET registry.npmjs.org /":                                                                "no package",
		"POST registry.npmjs.org /react":                                                          "only read",
		"GET registry.npmjs.org /-/v1/search":                                                     "no package",
		"GET pypi.org /simple/requests/":                                                          "",
		"GET pypi.org /simple/Typing.Extensions/":                                                 "",
		"GET pypi.org /simple/":                                                                   "no package",
		"GET pypi.org /simple/reqests/":                                                           "pypi:reqests is not",
		"GET pypi.org /pypi/requests/json":                                                        "",
		"GET files.pythonhosted.org /packages/ab/cd/ef/requests-2.32.3-py3-none-any.whl":          "",
		"GET files.pythonhosted.org /packages/ab/cd/ef/requests-2.32.3-py3-none-any.whl.metadata": "",
		"GET files.pythonhosted.org /packages/ab/cd/ef/typing_extensions-4.12.2.tar.gz":           "",
		"GET files.pythonhosted.org /packages/ab/cd/ef/evil-1.0.tar.gz":                           "pypi:evil is not",
		"GET files.pythonhosted.org /packages/requests-2.32.3.tar.gz":                             "no package",
		"GET proxy.golang.org /golang.org/x/sys/@v/list":                                          "",
		"GET proxy.golang.org /golang.org/x/@v/list":                                              "go:golang.org/x is not",
		"GET proxy.golang.org /github.com/!burnt!sushi/toml/@latest":                              "",
		"GET proxy.golang.org /github.com/evil/toml/@v/v1.0.0.zip":                                "go:github.com/evil/toml is not",
		"GET proxy.golang.org /cached-only/":                                                      "no package",
		"GET sum.golang.org /lookup/golang.org/x/sys@v0.1.0":                                      "",
		"GET sum.golang.org /tile/8/0/000":                                                        "",
		"GET sum.golang.org /lookup/evil.example/m@v0.1.0":                                        "go:evil.example/m is not",
		"GET index.crates.io /se/rd/serde":                                                        "",
		"GET index.crates.io /config.json":                                                        "",
		"GET static.crates.io /crates/serde/serde-1.0.0.crate":                                    "",
		"GET crates.io /api/v1/crates/serd/1.0.0/download":                                        "cargo:serd is not",
		"GET evil.example /react":                                                                 "no package",
	} {
		words := strings.Fields(request)
		path, query, _ := strings.Cut(words[2], "?")
		d := judge(&guest.Request{Method: words[0], Host: words[1], Path: path, Query: query})
		if want == "" && d.Word != "next" || want != "" && (d.Word != "deny" || !strings.Contains(d.Reason, want)) {
			t.Errorf("%s: %s %s, want %q", request, d.Word, d.Reason, want)
		}
	}
}

// FuzzPackageOf: a path is about a package whose name stands in it, or not read.
func FuzzPackageOf(f *testing.F) {
	f.Add("registry.npmjs.org", "/@types%2fnode")
	f.Add("files.pythonhosted.org", "/packages/ab/cd/ef/a-1.tar.gz")
	f.Add("proxy.golang.org", "/github.com/!burnt!sushi/toml/@latest")
	f.Add("index.crates.io", "/se/rd/serde")
	f.Fuzz(func(t *testing.T, host, path string) {
		name, ok := packageOf(host, path)
		if ok && name != "" && (strings.Contains(name, "..") && !strings.Contains(path, "..") || !strings.Contains(name, ":")) {
			t.Errorf("%q %q: %q", host, path, name)
		}
	})
}
