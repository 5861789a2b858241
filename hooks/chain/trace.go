package chain

import "github.com/penstock/penstock/hooks"

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

// Torn is the decision about what two hooks route differently. rule is where one of
// them stands.
func Torn(hook, via, other, otherVia, rule string) hooks.Decision {
	return hooks.Decision{Rule: rule, Reason: "hook " + hook + " routes via " + via + ", and hook " + other + " via " + otherVia}
}
