package policy

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// GraphQL is the graphql: of an allow rule: operations of these kinds on these
// fields, one or a batch. It is immutable.
type GraphQL struct {
	Operations []string `json:"operations"`          // query, mutation, subscription
	Fields     []string `json:"fields,omitempty"`    // of the root; nil: any
	Persisted  []string `json:"persisted,omitempty"` // SHA-256 of queries that may be named only, in hexadecimal
	MaxBody    int64    `json:"max_body,omitempty"`  // in bytes; 0: DefaultBody
}

// graphql reads {operations: [], fields: [], persisted: [], max_body: 1MiB}.
func (p *parser) graphql(n *yaml.Node) *GraphQL {
	g := &GraphQL{}
	p.fields(n, "graphql", []field{
		{"operations", func(n *yaml.Node) { g.Operations = p.names(n, "operations") }},
		{"fields", func(n *yaml.Node) { g.Fields = p.names(n, "fields") }},
		{"persisted", func(n *yaml.Node) { g.Persisted = p.names(n, "persisted") }},
		{"max_body", func(n *yaml.Node) { g.MaxBody, _ = p.size(n, "graphql.max_body") }},
	})
	return g
}

func (g *GraphQL) key() string { return "graphql" }

func (g *GraphQL) check() (msg, hint string) {
	kinds := []string{"query", "mutation", "subscription"}
	if g.Operations == nil {
		return "it has no operations", "for example graphql: {operations: [query]}"
	}
	msg, hint = checkList("operations", g.Operations, func(s string) (msg, hint string) {
		if !slices.Contains(kinds, s) {
			return "is no kind of operation", hintWords(s, kinds)
		}
		return "", ""
	})
	if msg == "" {
		msg, hint = checkList("fields", g.Fields, func(s string) (msg, hint string) {
			if len(s) > 255 || !grpcName(s, false) { // the names of protobuf are those of GraphQL
				return "is not the name of a field", `"*" stands for anything within a name`
			}
			return "", ""
		})
	}
	if msg == "" {
		msg, hint = checkList("persisted", g.Persisted, func(s string) (msg, hint string) {
			if !isHash(s) {
				return "is not a SHA-256 in hexadecimal, in small letters", ""
			}
			return "", ""
		})
	}
	if msg == "" && (g.MaxBody < 0 || g.MaxBody > maxBody) {
		msg = "max_body is more than " + sizeText(maxBody)
	}
	return msg, hint
}

// String returns it in YAML.
func (g *GraphQL) String() string {
	var t speechText
	t.list("operations", g.Operations)
	t.list("fields", g.Fields)
	t.list("persisted", g.Persisted)
	t.size("max_body", g.MaxBody)
	return t.String()
}

func (g *GraphQL) head(r *hooks.Request, _ string) string {
	switch {
	case !isJSON(r):
		return "this is not a GraphQL request that can be judged (POST, application/json in UTF-8, not compressed)"
	case r.Query != "":
		return "it has a query in its URL, from which some servers take the operation"
	}
	return ""
}

func (g *GraphQL) inBody(*hooks.Request) bool { return true }

// Limit is how many bytes of a body may be read to judge it.
func (g *GraphQL) Limit() int64 {
	if g.MaxBody == 0 {
		return DefaultBody
	}
	return g.MaxBody
}

// Operation says whether operations of a kind are allowed.
func (g *GraphQL) Operation(kind string) bool { return slices.Contains(g.Operations, kind) }

// Field says whether a field of the root may be asked for. What it is called in the
// schema is, in every one.
func (g *GraphQL) Field(name string) bool {
	return g.Fields == nil || name == "__typename" || matchesName(g.Fields, name)
}

// Named says whether a query may be named by its SHA-256 instead of sent.
func (g *GraphQL) Named(sum string) bool { return slices.Contains(g.Persisted, sum) }
