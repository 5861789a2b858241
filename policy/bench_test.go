package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// manyRules is a policy of n rules on n hosts, a third of them wildcards.
func manyRules(t testing.TB, n int) *Policy {
	var b strings.Builder
	b.WriteString("version: 1\negress:\n  allow:\n    - {host: api.example.com, methods: [GET, POST], paths: [\"/v1/**\", \"/files/*\"]}\n")
	for i := 1; i < n; i++ {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, "    - {host: \"*.org%d.example\", methods: [GET]}\n", i)
		case 1:
			fmt.Fprintf(&b, "    - {host: host%d.example.com, ports: [443, 8443]}\n", i)
		default:
			fmt.Fprintf(&b, "    - {cidr: 10.%d.%d.0/24}\n", i/256%256, i%256)
		}
	}
	b.WriteString("  deny:\n    - {host: \"*.evil.example\"}\n    - {host: api.example.com, paths: [\"/v1/admin/**\"]}\n")
	return mustPolicy(t, b.String())
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10000} {
		p := manyRules(b, n)
		for name, r := range map[string]*hooks.Request{
			"allow": req(b, "https://api.example.com/v1/messages/batch"),
			"wild":  req(b, "https://a.b.org3.example/x"),
			"cidr":  req(b, "https://10.0.5.9/x"),
			"deny":  req(b, "https://api.example.com/v1/admin/x"),
			"none":  req(b, "https://www.nowhere.test/x"),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.Decide(r)
				}
			})
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	p := manyRules(b, 10000)
	r := req(b, "https://api.example.com/")
	b.ReportAllocs()
	for b.Loop() {
		p.Connect(r.Target)
	}
}

// BenchmarkDecideProcess: all rules name an executable.
func BenchmarkDecideProcess(b *testing.B) {
	for _, n := range []int{10, 10000} {
		var text strings.Builder
		text.WriteString("version: 1\negress:\n  allow:\n")
		for i := range n {
			fmt.Fprintf(&text, "    - {host: host%d.example.com, process: {exe: /usr/bin/curl}}\n", i)
		}
		text.WriteString("    - {host: api.example.com, process: {exe: /usr/bin/git, sha256: " + gitFile.SHA256 + "}}\n  deny:\n    - {host: \"*\", process: {exe: /usr/bin/curl}}\n")
		p := resolved(b, mustPolicy(b, text.String()))
		r := by(req(b, "https://api.example.com/v1/messages/batch"), gitFile)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(r)
			}
		})
	}
}

// BenchmarkDecideMixed asks about many names in turn, so that the caches are
// not warmed by one of them.
func BenchmarkDecideMixed(b *testing.B) {
	for _, n := range []int{10, 10000} {
		p := manyRules(b, n)
		reqs := make([]*hooks.Request, 1024)
		for i := range reqs {
			k := i * 7 % n
			reqs[i] = req(b, fmt.Sprintf("https://host%d.example.com/x", k-k%3+1))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Decide(reqs[i%len(reqs)])
				i++
			}
		})
	}
}

// BenchmarkLoad is what a start pays: parse and join, then hand over as JSON.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10, 10000} {
		var text strings.Builder
		if err := manyRules(b, n).Show(&text, false); err != nil {
			b.Fatal(err)
		}
		src := []byte(text.String())
		b.Run(fmt.Sprintf("parse/%d", n), func(b *testing.B) {
			for b.Loop() {
				f, err := Parse("p", User, src)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := New([]*File{f}); err != nil {
					b.Fatal(err)
				}
			}
		})
		p := mustPolicy(b, string(src))
		b.Run(fmt.Sprintf("handover/%d", n), func(b *testing.B) {
			for b.Loop() {
				roundTrip(b, p)
			}
		})
	}
}
