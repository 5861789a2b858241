package secrets

import (
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Touches says why nobody but the pen may set a header field to a value, or remove it, in
// a request to the target, "" if they may: its name, which is canonical, is that of a place
// of a secret there, or the value has a placeholder.
func (s *Set) Touches(name, value string, target hooks.Target) string {
	if s == nil {
		return ""
	}
	for i := range s.secrets {
		c := &s.secrets[i]
		if c.allows(target.Host) && (name == c.Header || c.AWS != nil && strings.HasPrefix(name, "X-Amz-")) {
			return "which the policy puts secret " + c.Name + " in"
		}
	}
	if i, _ := s.find(value); i >= 0 || strings.Contains(value, marker) {
		return "and sets it to the placeholder of a secret"
	}
	return ""
}
