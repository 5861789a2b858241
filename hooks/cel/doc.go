// Package cel is the language of conditions: a part of CEL (cel.dev), the
// expression language of Kubernetes' and Envoy's policies, over the variable
// request and, of hooks that are asked then, response. It is a hooks.Language.
//
// What it accepts means what it means in CEL: tests compare each expression's
// type and value with cel-go's. That one is not linked, see RATIONALE.md. Not
// there are bytes, unsigned and floating numbers, times, null, messages, map and
// list values other than list literals, and comprehensions other than all and
// exists over a list literal.
//
// It has no clock, no randomness, no input but the request and no way to call
// out: what it says of a request today it says in a replay, too.
//
// # Hazards
//
// Who writes an expression is the author of a policy, in a supervised session also
// a caller who is not trusted: its length, depth, nesting and the size of its
// regular expressions are bounded when it is compiled, its cost when it runs.
//
// The pen chooses what the expression looks at. It would try: a body of unknown
// length where request.size is limited (the field is then absent, and to ask for
// it is an error, which denies); a header that is not there, twice there or
// spelled in another case; a path that can be read in several ways (package policy
// asks once for each reading); a long value to make the evaluation dear (cost is
// limited); a pattern of its own in matches() (only literal patterns compile).
// All of these have tests, here or in policy.
package cel
