package policy

import (
	"strings"
	"testing"
)

// TestUnasked: what hooks leave to a person is asked, but where a limit says that
// nobody is, and in audit mode, which undoes no word of a layer above it.
func TestUnasked(t *testing.T) {
	const low = "hooks: [{name: low, on: [request], cel: '\"next\"'}]\n"
	const high = "hooks: [{name: high, on: [request], cel: '\"next\"'}]\n"
	for name, tt := range map[string]struct {
		files map[Layer]string
		mode  Mode // of the command line
		hooks string
		pass  bool
		why   string
	}{
		"asked":                      {map[Layer]string{User: low}, "", "low", false, ""},
		"outside limits.modes":       {map[Layer]string{System: "limits: {modes: [enforce]}", User: low}, "", "low", false, "outside limits.modes at system.yaml:2 (system)"},
		"within limits.modes":        {map[Layer]string{System: "limits: {modes: [enforce, ask]}", User: low}, "", "low", false, ""},
		"--mode audit":               {map[Layer]string{User: low}, Audit, "low", true, ""},
		"the administrator's":        {map[Layer]string{System: high, User: low}, Audit, "low high", false, "does not undo what hook high says (system)"},
		"default: allow":             {map[Layer]string{User: low + "egress: {default: allow}"}, "", "low", true, ""},
		"default: allow, from below": {map[Layer]string{User: low, Project: "egress: {default: allow}"}, "", "low", false, "does not undo what hook low says (user)"},
		"in Go":                      {map[Layer]string{User: low}, Audit, "low else", false, "audit mode asks nobody"},
	} {
		var inline []Inline
		if tt.mode != "" {
			inline = append(inline, Inline{Flag: "--mode", Value: string(tt.mode)})
		}
		p, err := layers(t, tt.files, inline...)
		if err != nil {
			t.Fatal(err)
		}
		pass, why := p.Unasked(strings.Fields(tt.hooks), p.Mode() == Audit)
		if pass != tt.pass || !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%s: %t %q", name, pass, why)
		}
	}
}
