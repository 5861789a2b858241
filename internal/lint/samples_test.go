package lint

import "strings"

// doc is a package comment that says enough.
const doc = "// Package p does one job and says at length what its hazard is and also who it is that must never import it at all, and for which reason.\n"

// rules is the list of all rules, each with its samples.
func rules() []rule {
	return []rule{
		{
			name: "imports", check: ruleImports,
			bad: []string{
				"hooks/a.go", "package hooks\nimport _ \"github.com/penstock/penstock/policy\"\n",
				"policy/a.go", "package policy\nimport _ \"github.com/penstock/penstock/audit\"\n",
				"sandbox/bwrap/a.go", "package bwrap\nimport _ \"github.com/penstock/penstock/hooks\"\n",
				"audit/a.go", "package audit\nimport _ \"github.com/penstock/penstock/netproxy\"\n",
				"netproxy/dns/a.go", "package dns\nimport _ \"github.com/penstock/penstock/supervisor\"\n",
				"netproxy/a_linux.go", "//go:build linux\n\npackage netproxy\nimport _ \"github.com/penstock/penstock/sandbox\"\n",
				"supervisor/a.go", "package supervisor\nimport _ \"github.com/penstock/penstock/cmd/penstock\"\n",
				"supervisor/b.go", "package supervisor\nimport _ \"github.com/penstock/penstock/internal/world\"\n",
				"stray/a.go", "package stray\n",
			},
			good: []string{
				"policy/a.go", "package policy\nimport _ \"github.com/penstock/penstock/hooks\"\n",
				"policy/a_test.go", "package policy\nimport _ \"github.com/penstock/penstock/internal/world\"\n",
				"sandbox/netns/a.go", "package netns\nimport _ \"github.com/penstock/penstock/sandbox\"\n",
			},
		},
		{
			name: "outside", check: ruleOutside,
			bad: []string{
				"policy/a.go", "package policy\nimport _ \"github.com/elazarl/goproxy\"\n",
				"netproxy/a.go", "package netproxy\nimport _ \"example.com/unheard/of\"\n",
				"supervisor/a.go", "package supervisor\nimport _ \"github.com/spf13/cobra\"\n",
			},
			good: []string{"netproxy/a.go", "package netproxy\nimport (\n_ \"net\"\n_ \"github.com/elazarl/goproxy\"\n)\n"},
		},
		{
			name: "parsers", check: ruleParsers,
			bad: []string{
				"supervisor/a.go", "package supervisor\nimport _ \"net/http\"\n",
				"supervisor/config/a.go", "package config\nimport _ \"golang.org/x/net/dns/dnsmessage\"\n",
				"sandbox/netns/a.go", "package netns\nimport _ \"crypto/tls\"\n",
				"supervisor/b.go", "package supervisor\nimport _ \"github.com/penstock/penstock/netproxy/dns\"\n",
				"agent/shim/a.go", "package shim\nimport _ \"github.com/elazarl/goproxy\"\n",
			},
			good: []string{
				"supervisor/a.go", "package supervisor\nimport _ \"github.com/penstock/penstock/policy\"\n",
				"policy/a.go", "package policy\nimport _ \"github.com/penstock/penstock/hooks\"\n",
				"hooks/a.go", "package hooks\nimport _ \"net/http\"\n",
				"supervisor/proxyrole/a.go", "package proxyrole\nimport _ \"github.com/penstock/penstock/netproxy\"\n",
			},
		},
		{
			name: "resolve", check: ruleResolve,
			bad: []string{
				"netproxy/a.go", "package netproxy\nimport \"net\"\nfunc f() { net.LookupHost(\"a\") }\n",
				"netproxy/b.go", "package netproxy\nimport n \"net\"\nvar r n.Resolver\n",
				"audit/a.go", "package audit\nimport \"net\"\nfunc f() { net.Dial(\"tcp\", \"a:1\") }\n",
				"audit/b.go", "package audit\nimport \"net/http\"\nfunc f() { http.Get(\"http://a\") }\n",
			},
			good: []string{
				"netproxy/dialguard/a.go", "package dialguard\nimport \"net\"\nfunc f() { net.LookupHost(\"a\") }\n",
				"netproxy/a.go", "package netproxy\nimport \"net\"\nfunc f() { net.Listen(\"tcp\", \"127.0.0.1:0\") }\n",
				"audit/a.go", "package audit\nfunc f(net struct{ Dial func() }) { net.Dial() }\n",
			},
		},
		{
			name: "ambient", check: ruleAmbient,
			bad: []string{
				"policy/a.go", "package policy\nimport \"os\"\nfunc f() { os.Exit(1) }\n",
				"audit/b.go", "package audit\nimport \"os\"\nvar v = os.Getenv(\"X\")\n",
				"netproxy/a.go", "package netproxy\nimport \"log\"\nfunc f() { log.Fatal(1) }\n",
				"audit/a.go", "package audit\nimport \"flag\"\nvar v = flag.Bool(\"x\", false, \"\")\n",
			},
			good: []string{
				"cmd/penstock/a.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }\n",
				"policy/a_test.go", "package policy\nimport \"os\"\nfunc f() { os.Exit(1) }\n",
			},
		},
		{
			name: "init", check: ruleInit,
			bad:  []string{"policy/a.go", "package policy\nfunc init() {}\n"},
			good: []string{"policy/a.go", "package policy\ntype t int\nfunc (t) init() {}\n"},
		},
		{
			name: "state", check: ruleState,
			bad: []string{
				"policy/a.go", "package policy\nvar n int\nfunc f() { n++ }\n",
				"policy/b.go", "package policy\nvar m = map[string]int{}\nfunc f() { m[\"a\"] = 1 }\n",
				"policy/c.go", "package policy\nimport \"sync\"\nvar mu sync.Mutex\n",
				"policy/d.go", "package policy\nimport \"regexp\"\nvar re = regexp.MustCompile(\"a\")\n",
				"policy/e.go", "package policy\nvar m = map[string]int{\"a\": 1}\n",
				"policy/f.go", "package policy\nimport \"sync/atomic\"\nvar p atomic.Pointer[int]\n",
			},
			good: []string{"policy/a.go", `package policy
import ("errors"; "sync")
var ErrX = errors.New("x")
var list = []string{"a"}
var pool = sync.Pool{New: func() any { return make([]byte, 10) }}
var lazy = sync.OnceValue(func() int { return expensive() })
var _ error = (*e)(nil)
func f() { list := 1; list++; _ = list }
`},
		},
		{
			name: "sleep", check: ruleSleep,
			bad:  []string{"policy/a_test.go", "package policy\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"},
			good: []string{"policy/a_test.go", "package policy\nimport \"time\"\nfunc f() { <-time.After(1) }\n"},
		},
		{
			name: "comment", check: ruleComment,
			bad: []string{
				"policy/a.go", "package policy\n",
				"policy/b.go", "// Package policy is short.\npackage policy\n",
				"policy/c.go", "// " + strings.Repeat("x", 200) + "\npackage policy\n",
			},
			good: []string{"p/a.go", doc + "package p\n", "p/b.go", "package p\n"},
		},
		{
			name: "length", check: ruleLength,
			bad: []string{
				"policy/a.go", "package policy\n" + strings.Repeat("\n", 400),
				"ARCHITECTURE.md", strings.Repeat("\n", 301),
			},
			good: []string{"policy/a.go", "package policy\n", "README.md", strings.Repeat("\n", 500)},
		},
		{
			name: "traces", check: ruleTraces,
			bad: []string{
				"a.txt", "see /root/go/x",
				"b.txt", "as asked in issue 12",
			},
			good: []string{"a.txt", "under /proc and /home/user; ~/work; an issue"},
		},
		{
			name: "fuzz", check: ruleFuzz,
			bad: []string{"policy/a.go", "package policy\nfunc ParseTarget(s string) {}\n"},
			good: []string{
				"policy/a.go", "package policy\nfunc ParseTarget(s string) {}\n",
				"policy/a_test.go", "package policy\nimport \"testing\"\nfunc FuzzTarget(f *testing.F) {}\n",
			},
		},
		{
			name: "invariants", check: ruleInvariants,
			bad: []string{"SECURITY.md", "| 3 | **One name.** |\n"},
			good: []string{
				"SECURITY.md", "| 3 | **One name.** |\n",
				"netproxy/a_test.go", "package netproxy\nfunc TestInvariant03OneName() {}\n",
			},
		},
	}
}
