package hooks

// Condition is an expression over a request, compiled. It is safe for concurrent
// use, has no memory and sees nothing but the request, so that the same request
// always gets the same answer.
type Condition interface {
	// Holds says whether the condition is true of a request. An error says that
	// this can't be known (a field that the request does not have, a limit of
	// cost); whoever asks then takes the answer that denies. The error's text may
	// hold bytes of the pen. The request is not kept and not changed.
	Holds(r *Request) (bool, error)
}

// Language compiles conditions. Package hooks/cel is one.
type Language interface {
	// Compile checks an expression and its types. The error is a *ConditionError.
	Compile(expression string) (Condition, error)
	// CompileHook checks an expression that says what to do: a text, "next", "deny"
	// or "ask", the latter two also with a colon and a reason, or "route:" and the name
	// of an upstream. It can look at what is
	// there at each of the points. The error is a *ConditionError.
	CompileHook(expression string, on ...Point) (Hook, error)
}

// ConditionError says what is wrong with an expression.
type ConditionError struct {
	Line, Column int    // in the expression, from 1
	Message      string // may hold bytes of the expression
	Hint         string // what to write instead, "" if there is nothing to say
}

// Error returns the message.
func (e *ConditionError) Error() string { return e.Message }
