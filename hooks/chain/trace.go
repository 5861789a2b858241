package chain

import (
	"slices"

	"github.com/penstock/penstock/hooks"
)

// Askers returns the names of the hooks that left it to a person, in their order.
func Askers(trace []hooks.Trace) (names []string) {
	for _, t := range trace {
		if t.Decision == hooks.Ask.String() {
			names = append(names, t.Hook)
		}
	}
	return names
}

// Router returns the name of the hook that routed first, "" for none.
func Router(trace []hooks.Trace) string {
	for _, t := range trace {
		if t.Decision == hooks.Route.String() {
			return t.Hook
		}
	}
	return ""
}

// Changer returns the name of the hook that changed a field first, "" for none; of any
// field if it is "".
func Changer(trace []hooks.Trace, field string) string {
	for _, t := range trace {
		if f := t.Fields; f != nil && (field == "" || slices.Contains(f.Set, field) || slices.Contains(f.Removed, field)) {
			return t.Hook
		}
	}
	return ""
}

// Rewriter returns the name of the hook that has changed a body last, "" for none.
func Rewriter(trace []hooks.Trace) (name string) {
	for _, t := range trace {
		if t.Body != nil {
			name = t.Hook
		}
	}
	return name
}

// Torn is the decision about what two hooks route differently. rule is where one of
// them stands.
func Torn(hook, via, other, otherVia, rule string) hooks.Decision {
	return hooks.Decision{Rule: rule, Reason: "hook " + hook + " routes via " + via + ", and hook " + other + " via " + otherVia}
}
