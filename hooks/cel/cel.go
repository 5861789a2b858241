package cel

import (
	"fmt"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Bounds of an expression.
const (
	// MaxExpression is the greatest length of an expression, in bytes.
	MaxExpression = 4096
	// MaxCost is what one evaluation may cost: each comparison and call is 1, and 1
	// more for every 16 bytes that it looks at.
	MaxCost = 20_000

	maxDepth   = 64   // of brackets and calls
	maxNesting = 2    // of all() and exists()
	maxPattern = 1000 // instructions of a regular expression, about
)

// variable is the name of the one thing that an expression can look at.
const variable = "request"

// Language compiles expressions. It has no state.
type Language struct{}

var _ hooks.Language = Language{}

// Compile implements hooks.Language.
func (Language) Compile(expression string) (hooks.Condition, error) {
	switch {
	case strings.TrimSpace(expression) == "":
		return nil, fail("", 0, "the expression is empty", "leave it out, or write a condition such as request.size < 1000000")
	case len(expression) > MaxExpression:
		return nil, fail("", 0, fmt.Sprintf("the expression has %d bytes, more than %d", len(expression), MaxExpression), "write several rules")
	}
	p := &parser{lexer: lexer{src: expression}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	v, err := p.expression()
	if err != nil {
		return nil, err
	}
	switch {
	case p.tok.kind != end:
		return nil, p.unexpected("an operator such as &&, or the end")
	case v.typ != tBool:
		return nil, p.fail(v.pos, "the expression is of type "+v.typ.String()+", not bool", "compare it with something, for example "+variable+`.method == "GET"`)
	}
	return condition{v.b}, nil
}

// condition is a compiled expression.
type condition struct{ holds func(*run) (bool, error) }

// Holds implements hooks.Condition.
func (c condition) Holds(r *hooks.Request) (bool, error) {
	x := run{r: r, left: MaxCost}
	ok, err := c.holds(&x)
	return ok && err == nil, err
}
