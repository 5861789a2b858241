package policy

import (
	"errors"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// maxWhen bounds an expression, in bytes.
const maxWhen = 4096

// condition is the when: of a rule. It travels as text and is compiled by who
// uses it.
type condition struct {
	text  string
	at    Source          // where the expression stands
	holds hooks.Condition // nil: nobody has compiled it
}

// judge says whether the condition holds of a request. why says in words, without
// bytes that could harm a terminal, why that can't be known.
func (w *condition) judge(r *hooks.Request) (ok bool, why string) {
	if w.holds == nil {
		return false, "nobody has compiled it"
	}
	ok, err := w.holds.Holds(r)
	if err != nil {
		return false, printable(clip(err.Error()))
	}
	return ok, ""
}

// matchWhen says whether the rule's condition holds. An allow needs that of all
// readings of the path, a deny of one. What can't be known never makes an allow
// match and always makes a deny match.
func (r *Rule) matchWhen(c *cursor) bool {
	ok, _ := r.whenWhy(c)
	return ok
}

// whenWhy is matchWhen with what kept the condition from being decided.
func (r *Rule) whenWhy(c *cursor) (ok bool, why string) {
	c.read()
	// A copy, so that the caller's request need not live on the heap for the sake
	// of a rule that hardly any policy has.
	q := *c.r
	for i := 0; i < c.n; i++ {
		q.Path = c.readings[i]
		ok, why := r.when.judge(&q)
		if why != "" {
			return r.Deny, why
		}
		if ok == r.Deny {
			return ok, ""
		}
	}
	return !r.Deny, ""
}

// undecided says why the rule's condition could not be decided for a request that
// the rule is otherwise about, "" if it could.
func (r *Rule) undecided(c *cursor) string {
	if r.when == nil || !c.web() || !r.matchMethod(c.r.Method) || !r.matchPaths(c) {
		return ""
	}
	_, why := r.whenWhy(c)
	return why
}

// whenOf reads an expression, the value of a key.
func (p *parser) whenOf(n *yaml.Node, key string) *condition {
	s, ok := p.text(n, key)
	if !ok {
		return nil
	}
	w := &condition{text: s, at: p.at(n)}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		w.at.Line, w.at.Column = w.at.Line+1, 1
	}
	if msg, hint := badWhen(key, s); msg != "" {
		p.fail(n, hint, "%s", msg)
	}
	return w
}

// badWhen says why a text can't be a condition, as far as that can be seen
// without its language.
func badWhen(key, s string) (msg, hint string) {
	switch {
	case s == "":
		return key + " is empty", "leave it out, or write a condition such as request.size < 1000000"
	case len(s) > maxWhen:
		return key + " has more than " + strconv.Itoa(maxWhen) + " bytes", "write several"
	}
	return "", ""
}

// NeedsConditions says whether any rule has a condition, or any hook an
// expression, that has to be compiled.
func (p *Policy) NeedsConditions() bool { return p.idx.when || len(p.d.Hooks) > 0 }

// CompileConditions returns the policy with the condition of every rule and the
// expression of every hook compiled. Until then an allow with a condition matches nothing and a deny with one every
// request. The error is an *ErrorList that names the conditions' lines.
func (p *Policy) CompileConditions(lang hooks.Language) (*Policy, error) {
	if !p.NeedsConditions() {
		return p, nil
	}
	if lang == nil {
		return nil, errors.New("compile conditions: there is no language")
	}
	d := p.d
	var errs ErrorList
	d.Rules = compileRules(d.Rules, lang, &errs)
	d.Hooks = compileHooks(d.Hooks, lang, &errs)
	if err := errs.err(); err != nil {
		return nil, err
	}
	return compile(d)
}

// CheckConditions says what is wrong with the expressions of a file by itself.
// The error is an *ErrorList.
func (f *File) CheckConditions(lang hooks.Language) error {
	var errs ErrorList
	compileRules(f.rules, lang, &errs)
	compileHooks(f.hooks, lang, &errs)
	return errs.err()
}

// compileRules returns copies of the rules with their conditions compiled.
func compileRules(rules []*Rule, lang hooks.Language, errs *ErrorList) []*Rule {
	out := make([]*Rule, len(rules))
	for i, r := range rules {
		own := *r
		out[i] = &own
		if r.when == nil {
			continue
		}
		w := *r.when
		own.when = &w
		var err error
		if w.holds, err = lang.Compile(w.text); err != nil {
			errs.expression(w.at, "when", err)
		}
	}
	return out
}

// expression adds what is wrong with one, the value of a key, at its line.
func (l *ErrorList) expression(at Source, key string, err error) {
	var e *hooks.ConditionError
	if !errors.As(err, &e) {
		l.add(at, "", "%s can't be used: %s", key, printable(clip(err.Error())))
		return
	}
	where := ""
	if e.Line > 1 || e.Column > 1 {
		where = " (line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column) + " of the expression)"
	}
	if at.Line > 0 {
		at.Line += max(e.Line-1, 0)
	}
	l.add(at, printable(e.Hint), "%s: %s%s", key, printable(clip(e.Message)), where)
}
