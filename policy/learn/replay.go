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

// Replay asks a policy about what was decided before. The zero value with a policy
// is ready; it is one goroutine's.
type Replay struct {
	Policy  *policy.Policy
	Same    int // verdicts that did not change
	Changed int
	by      map[Change]int
}

// Add asks about one.
func (r *Replay) Add(rec *Recorded) {
	v := r.Policy.Decide(&rec.Request)
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
