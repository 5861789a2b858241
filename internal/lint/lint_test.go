package lint

import (
	"sort"
	"testing"
)

// rule is one thing that holds for the whole tree.
type rule struct {
	name  string
	check func(*tree) []string
	// bad is a small tree, as pairs of name and content, in which the rule must
	// find something; good is one like it in which it must not.
	bad, good []string
}

// TestTree runs every rule over the module.
func TestTree(t *testing.T) {
	tr := load(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			found := r.check(tr)
			sort.Strings(found)
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

// TestRulesFire shows each rule a bad sample, so that none is asleep, and a
// good one, so that none cries at everything.
func TestRulesFire(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for i := 0; i < len(r.bad); i += 2 {
				if found := r.check(sample(t, r.bad[i], r.bad[i+1])); len(found) == 0 {
					t.Errorf("nothing found in bad sample %d (%s):\n%s", i/2, r.bad[i], r.bad[i+1])
				}
			}
			if found := r.check(sample(t, r.good...)); len(found) != 0 {
				t.Errorf("found in the good sample: %v", found)
			}
		})
	}
}

// TestInvariant07PrivilegedProcessParsesNoTraffic holds the seventh invariant
// in the import graph: what the supervisor, the builder and the shim are made
// of can't parse HTTP, TLS, DNS or SOCKS. Making any of them import net/http,
// crypto/tls or package netproxy fails it.
func TestInvariant07PrivilegedProcessParsesNoTraffic(t *testing.T) {
	for _, f := range ruleParsers(load(t)) {
		t.Error(f)
	}
	bad := sample(t, "supervisor/a.go", "package supervisor\nimport _ \"net/http\"\n")
	if len(ruleParsers(bad)) == 0 {
		t.Error("a supervisor that imports net/http passes")
	}
}
