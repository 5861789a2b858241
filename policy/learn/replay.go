package learn

import (
	"cmp"
	"slices"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Recorded is a verdict as it was recorded.
type Recorded struct {
	Request hooks.Request
	Allowed bool   // by the policy of then, whatever the mode
	Rule    string // "file:line", "" for the default
	// Hooks are names of those that did more to it than let it pass.
	Hooks []string
	// Hooked says that it did not go out by a hook's word. What the rules said is not
	// recorded then.
	Hooked bool
}

// Change is a verdict that would be another one now.
type Change struct {
	Request string `json:"request"` // one that stands for all
	Was     string `json:"was"`     // allow or deny
	Now     string `json:"now"`
	By      string `json:"by,omitempty"`   // rule of then
	Rule    string `json:"rule,omitempty"` // rule of now
	Reason  string `json:"reason"`
	Count   int    `json:"count"`
}

// Replay asks a policy's rules about what was decided before. Its hooks are not asked:
// much of what they would look at is not recorded. The zero value with a policy is
// ready; it is one goroutine's.
type Replay struct {
	Policy  *policy.Policy
	Same    int // verdicts that did not change
	Changed int
	LeftOut int // that hooks made: neither
	// Then has how many flows each hook has changed, routed, answered, denied or left to
	// a person; Now, about how many that the rules allow each of the policy's would be
	// asked, whose answers are not known.
	Then, Now map[string]int
	by        map[Change]int
}

// Add asks about one.
func (r *Replay) Add(rec *Recorded) {
	count(&r.Then, rec.Hooks)
	if rec.Hooked {
		r.LeftOut++
		return
	}
	v := r.Policy.Decide(&rec.Request)
	if v.Action == hooks.Allow {
		var names []string
		for _, a := range r.Policy.AskedAbout(&rec.Request) {
			names = append(names, a.Hook)
		}
		count(&r.Now, names)
	}
	if (v.Action == hooks.Allow) == rec.Allowed {
		r.Same++
		return
	}
	r.Changed++
	if r.by == nil {
		r.by = map[Change]int{}
	}
	q := &rec.Request
	name := q.Protocol.String() + "://" + q.Target.String() + q.Path
	if q.Method != "" {
		name = q.Method + " " + name
	}
	c := Change{Request: name, Was: word(rec.Allowed), Now: word(!rec.Allowed), By: rec.Rule, Reason: v.Reason}
	if v.Rule != nil {
		c.Rule = v.Rule.Source.Ref()
	}
	r.by[c]++
}

// count adds one to each of the names, which may be there twice.
func count(to *map[string]int, names []string) {
	if len(names) > 0 && *to == nil {
		*to = map[string]int{}
	}
	for i, name := range names {
		if !slices.Contains(names[:i], name) {
			(*to)[name]++
		}
	}
}

func word(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}

// Changes are the changed verdicts, what is refused now first, the most frequent
// first.
func (r *Replay) Changes() []Change {
	out := []Change{}
	for c, n := range r.by {
		c.Count = n
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(-cmp.Compare(a.Now, b.Now), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Request, b.Request), cmp.Compare(a.By, b.By), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
