package speech

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/penstock/penstock/policy"
)

// operation is one of a GraphQL document, with the fields of the root that it asks
// for, under their own names.
type operation struct {
	kind   string
	fields []string
}

// Operations are what a body of GraphQL over HTTP asks, one request or a batch. It is
// immutable.
type Operations struct {
	list  []operation // all that the documents have, whichever is to be executed
	named []string    // SHA-256 of queries that are named
	size  int
}

// ReadOperations reads a body. The error is what is wrong with it, in printable words.
func ReadOperations(doc []byte) (*Operations, error) {
	if err := strict(doc); err != nil {
		return nil, err
	}
	list, err := batch(doc)
	if err != nil {
		return nil, err
	}
	o := &Operations{size: len(doc)}
	for _, m := range list {
		if err := o.request(m); err != nil {
			return nil, err
		}
	}
	return o, nil
}

var errGraphQL = errors.New("it is not a request of GraphQL")

// request reads one request: query, operationName, variables and extensions, and no
// other key, since servers have keys of their own for queries that they know.
func (o *Operations) request(doc json.RawMessage) error {
	keys, ok := members(doc)
	if !ok {
		return errGraphQL
	}
	query, named := "", false
	for _, m := range keys {
		text, isText := str(m.value)
		isObject := len(m.value) > 0 && m.value[0] == '{'
		switch m.key {
		case "query":
			if query = text; !isText && !isNull(m.value) {
				return errGraphQL
			}
		case "operationName":
			if !isText && !isNull(m.value) {
				return errGraphQL
			}
		case "variables":
			if !isObject && !isNull(m.value) {
				return errGraphQL
			}
		case "extensions":
			if isNull(m.value) {
				continue
			}
			sum, err := persisted(m.value)
			if err != nil {
				return err
			}
			if named = sum != ""; named {
				o.named = append(o.named, sum)
			}
		default:
			return fmt.Errorf("it has a key that is not query, operationName, variables or extensions: %s", Quoted(m.key))
		}
	}
	if query == "" {
		if !named {
			return errGraphQL
		}
		return nil
	}
	return o.document(query)
}

// persisted is the SHA-256 by which extensions name a query, "" if they don't.
func persisted(doc json.RawMessage) (sum string, err error) {
	bad := errors.New("what names a persisted query is not in the usual form")
	list, ok := members(doc)
	if !ok {
		return "", errGraphQL
	}
	for _, m := range list {
		if looksLike(m.key, "persistedQuery") {
			return "", bad
		}
		if m.key != "persistedQuery" {
			continue
		}
		parts, ok := members(m.value)
		if !ok {
			return "", bad
		}
		for _, p := range parts {
			switch p.key {
			case "version":
			case "sha256Hash":
				sum, _ = str(p.value)
			default:
				return "", bad
			}
		}
		if sum == "" {
			return "", bad
		}
	}
	return sum, nil
}

// maxTokens bounds a document.
const maxTokens = 10_000

// document reads every operation of a document.
func (o *Operations) document(text string) error {
	// Lexers differ in what ends a line, so a comment; older ones have no block strings.
	for i, r := range text {
		switch {
		case r == '\r' && !strings.HasPrefix(text[i:], "\r\n"), r < ' ' && r != '\t' && r != '\n' && r != '\r',
			r == 0x7f, r == 0x85, r == 0x2028, r == 0x2029, r == 0xfeff:
			return errors.New("its document has a control character or an odd end of a line")
		}
	}
	if strings.Contains(text, `"""`) {
		return errors.New(`its document has a block string ("""), which older servers read otherwise: use a variable`)
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxTokens)
	if err != nil || len(doc.Operations) == 0 {
		return errors.New("its document is not GraphQL, or too large")
	}
	fragments := map[string]*ast.FragmentDefinition{}
	for _, f := range doc.Fragments {
		if fragments[f.Name] != nil {
			return errors.New("its document has a fragment twice")
		}
		fragments[f.Name] = f
	}
	names := map[string]bool{}
	for _, op := range doc.Operations {
		if names[op.Name] || op.Name == "" && len(doc.Operations) > 1 {
			return errors.New("its document has two operations of one name, or one without a name beside others")
		}
		names[op.Name] = true
		one := operation{kind: string(op.Operation)}
		if err := one.collect(op.SelectionSet, fragments, map[string]bool{}); err != nil {
			return err
		}
		if len(one.fields) == 0 {
			return errors.New("its document asks for nothing")
		}
		o.list = append(o.list, one)
	}
	return nil
}

// collect finds the fields of a selection, in fragments too: conditions on them and
// directives can only take some away.
func (o *operation) collect(set ast.SelectionSet, fragments map[string]*ast.FragmentDefinition, seen map[string]bool) error {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			o.fields = append(o.fields, s.Name)
		case *ast.InlineFragment:
			if err := o.collect(s.SelectionSet, fragments, seen); err != nil {
				return err
			}
		case *ast.FragmentSpread:
			if seen[s.Name] {
				continue
			}
			seen[s.Name] = true
			f := fragments[s.Name]
			if f == nil {
				return errors.New("its document has a fragment that is not there")
			}
			if err := o.collect(f.SelectionSet, fragments, seen); err != nil {
				return err
			}
		default:
			return errGraphQL
		}
	}
	return nil
}

// Judge says why a rule does not allow the body as a whole, "" if it does. The words
// are printable.
func (o *Operations) Judge(g *policy.GraphQL) string {
	if int64(o.size) > g.Limit() {
		return ErrLong.Error()
	}
	for _, sum := range o.named {
		if !g.Named(sum) {
			return "query " + Quoted(sum) + " is none that it has under persisted"
		}
	}
	for _, op := range o.list {
		if !g.Operation(op.kind) {
			return "a " + op.kind + " is none of its operations"
		}
		for _, f := range op.fields {
			if !g.Field(f) {
				return "field " + Quoted(f) + " is none of its fields"
			}
		}
	}
	return ""
}

// About says what the body asks, in few printable words.
func (o *Operations) About() string {
	if len(o.list) == 0 {
		return "persisted query " + Quoted(o.named[0])
	}
	op := o.list[0]
	s := op.kind + " of " + Quoted(op.fields[0])
	if n := len(op.fields) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	if n := len(o.list) - 1; n > 0 {
		s += fmt.Sprintf(", and %d more operations", n)
	}
	return s
}
