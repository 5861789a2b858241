package cel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
)

// Bounds of an expression.
const (
	// MaxExpression is the greatest length of an expression, in bytes.
	MaxExpression = 4096
	// MaxCost is what one evaluation may cost: each comparison and call is 1, and 1
	// more for every 16 bytes that it looks at. A hook about bodies may look at these
	// sixteen times beyond that.
	MaxCost = 20_000

	maxDepth   = 64   // of brackets and calls
	maxNesting = 2    // of all() and exists()
	maxPattern = 1000 // instructions of a regular expression, about
)

// Language compiles expressions. It has no state.
type Language struct{}

var _ hooks.Language = Language{}

// Compile implements hooks.Language.
func (Language) Compile(expression string) (hooks.Condition, error) {
	v, err := compile(expression, tBool, `compare something, for example request.method == "GET"`, []hooks.Point{hooks.PointRequest})
	if err != nil {
		return nil, err
	}
	return condition{v.b}, nil
}

// CompileHook implements hooks.Language.
func (Language) CompileHook(expression string, on ...hooks.Point) (hooks.Hook, error) {
	v, err := compile(expression, tString, `for example request.size > 1000000 ? "deny: too large" : "next"`, on)
	if err != nil {
		return nil, err
	}
	for _, s := range v.words {
		if act, _, _ := strings.Cut(s, ":"); (act == "ask" || act == "route") && !slices.ContainsFunc(on, hooks.Point.Ahead) {
			return nil, fail(expression, v.pos, `it says "`+act+`" where that can't be`, `say "next" or "deny", or have it asked at request or connect`)
		}
	}
	return hook{v.s, on}, nil
}

// compile reads an expression of a type.
func compile(expression string, want typ, hint string, on []hooks.Point) (value, error) {
	switch {
	case strings.TrimSpace(expression) == "":
		return value{}, fail("", 0, "the expression is empty", hint)
	case len(expression) > MaxExpression:
		return value{}, fail("", 0, fmt.Sprintf("the expression has %d bytes, more than %d", len(expression), MaxExpression), "write several")
	case !utf8.ValidString(expression):
		return value{}, fail("", 0, "the expression is not UTF-8", "")
	}
	p := &parser{lexer: lexer{src: expression}, on: on}
	if err := p.advance(); err != nil {
		return value{}, err
	}
	v, err := p.expression()
	if err != nil {
		return value{}, err
	}
	switch {
	case p.tok.kind != end:
		return value{}, p.unexpected("an operator such as &&, or the end")
	case v.typ != want:
		return value{}, p.fail(v.pos, "the expression is of type "+v.typ.String()+", not "+want.String(), hint)
	}
	return v, nil
}

// condition is a compiled expression.
type condition struct{ holds func(*run) (bool, error) }

// Holds implements hooks.Condition.
func (c condition) Holds(r *hooks.Request) (bool, error) {
	x := run{r: r, left: MaxCost}
	ok, err := c.holds(&x)
	return ok && err == nil, err
}

// hook is a compiled expression that says what to do.
type hook struct {
	says func(*run) (string, error)
	on   []hooks.Point
}

// Prompt says that Decide ends by itself: its cost is limited.
func (h hook) Prompt() {}

// Decide implements hooks.Hook.
func (h hook) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	if !slices.Contains(h.on, r.Point) {
		return hooks.Decision{}, errPoint
	}
	x := run{r: r, left: MaxCost}
	if r.Body != nil {
		x.left += len(r.Body.Data) // to look at it sixteen times
	}
	says, err := h.says(&x)
	if err != nil {
		return hooks.Decision{}, err
	}
	action, reason, _ := strings.Cut(says, ":")
	switch action {
	case "next":
		return hooks.Decision{Action: hooks.Next}, nil
	case "deny":
		return hooks.Decision{Reason: strings.TrimSpace(reason)}, nil
	case "route":
		return hooks.Decision{Action: hooks.Route, Via: strings.TrimSpace(reason)}, nil
	case "ask":
		return hooks.Decision{Action: hooks.Ask, Reason: strings.TrimSpace(reason)}, nil
	}
	return hooks.Decision{}, errAction
}

var errPoint = errors.New("its expression was not made for this point")

var errAction = errors.New(`its expression says none of "next", "deny", "ask" and "route"`)
