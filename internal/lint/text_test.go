package lint

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Lengths that a reader can hold.
const (
	maxLines             = 400
	maxTestLines         = 600 // tables
	maxArchitectureLines = 300
)

// ruleLength bounds the length of source files.
func ruleLength(t *tree) (found []string) {
	for _, name := range t.names() {
		limit := 0
		switch {
		case generated(name, t.texts[name]):
			continue
		case strings.HasSuffix(name, "_test.go"):
			limit = maxTestLines
		case strings.HasSuffix(name, ".go") && !strings.Contains(name, "testdata/"):
			limit = maxLines
		case name == "ARCHITECTURE.md":
			limit = maxArchitectureLines
		default:
			continue
		}
		if lines := strings.Count(t.texts[name], "\n"); lines > limit {
			found = append(found, fmt.Sprintf("%s: %d lines, more than %d: split it by what its parts are", name, lines, limit))
		}
	}
	return found
}

// traces are signs that a file was written on one particular machine or for
// one particular reader. This file is not read by the rule.
var traces = []string{
	`/root/(go|\.[a-z]+)\b`, // paths of one machine
	`(?i)\bissue #?[0-9]+\b`,
	`(?i)goproxy\.(io|cn)\b`,
	`-----BEGIN (EC |RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{100,}`,
}

// ruleTraces keeps the tree free of them.
func ruleTraces(t *tree) (found []string) {
	var patterns []*regexp.Regexp
	for _, p := range traces {
		patterns = append(patterns, regexp.MustCompile(p))
	}
	for _, name := range t.names() {
		if name == "internal/lint/text_test.go" || name == "internal/lint/samples_test.go" || path.Base(name) == "go.sum" {
			continue
		}
		for i, line := range strings.Split(t.texts[name], "\n") {
			for _, p := range patterns {
				if m := p.FindString(line); m != "" {
					found = append(found, fmt.Sprintf("%s:%d: %q does not belong in the tree", name, i+1, m))
				}
			}
		}
	}
	return found
}

// parserName matches functions that read bytes which somebody else wrote.
var parserName = regexp.MustCompile(`(?m)^func (\([^)]*\) )?(Parse|Decode|Canonical|Classify|Sniff)[A-Z]?\w*\(`)

// unfuzzed are packages whose parsers nobody hostile can feed, with why.
var unfuzzed = map[string]string{
	"supervisor/config": "flags, typed by the user who could do without us anyway",
}

// ruleFuzz asks for a fuzz target, with a kept corpus or seeds, in every
// package that exports a parser.
func ruleFuzz(t *tree) (found []string) {
	exports := map[string]string{}
	fuzzed := map[string]bool{}
	for _, s := range t.sources {
		l := layerOf(s.dir)
		switch {
		case l != nil && l.test:
		case s.test:
			if strings.Contains(s.text, "\nfunc Fuzz") {
				fuzzed[s.dir] = true
			}
		case parserName.MatchString(s.text):
			exports[s.dir] = s.name
		}
	}
	for dir, name := range exports {
		if !fuzzed[dir] && unfuzzed[dir] == "" {
			found = append(found, fmt.Sprintf("%s: exports a parser, but package %s has no fuzz target", name, dir))
		}
	}
	return found
}

// invariantRow matches a row of SECURITY.md's table of invariants.
var invariantRow = regexp.MustCompile(`(?m)^\| ([0-9]+) \| \*\*`)

// ruleInvariants asks for a test named after each invariant of SECURITY.md.
func ruleInvariants(t *tree) (found []string) {
	for _, m := range invariantRow.FindAllStringSubmatch(t.texts["SECURITY.md"], -1) {
		name := fmt.Sprintf("func TestInvariant%02s", m[1])
		held := false
		for _, s := range t.sources {
			held = held || s.test && strings.Contains(s.text, name)
		}
		if !held {
			found = append(found, fmt.Sprintf("SECURITY.md: invariant %s has no %s…", m[1], name[len("func "):]))
		}
	}
	return found
}
