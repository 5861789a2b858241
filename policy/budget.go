package policy

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Budget is the budget: of an allow rule: how much of what the rule is about may
// pass. Every request that the rule matches counts, whatever other rule allows
// it too, and so does what can't be read and could hold such a request. Each of
// several budgets must have room. It is immutable.
type Budget struct {
	Requests int64 `json:"requests,omitempty"`  // 0: any number
	BytesOut int64 `json:"bytes_out,omitempty"` // from the pen; 0: any
	BytesIn  int64 `json:"bytes_in,omitempty"`  // to the pen; 0: any
	// Per is how long these three last, in the file's word: session or hour.
	Per string `json:"per,omitempty"`
	// Rate is how many requests may begin in any RatePer; 0: any number.
	Rate    int64         `json:"rate,omitempty"`
	RatePer time.Duration `json:"rate_per,omitempty"` // a second, minute or hour

	Ref string `json:"-"` // file:line of its rule
	// Subject is what the rule is about and whose it is, without the budget: a budget whose numbers
	// have changed goes on with what was used.
	Subject string `json:"-"`
	alone   []*Budget
}

// Words of per.
const (
	perSession = "session"
	perHour    = "hour"
)

// Window is how long the budget's amounts last; 0 is the session.
func (b *Budget) Window() time.Duration {
	if b.Per == perHour {
		return time.Hour
	}
	return 0
}

// maxRate bounds what has to be remembered of a rate.
const maxRate = 10_000

// maxAmount leaves room to count beyond it.
const maxAmount = 1 << 60

// budget reads {requests: 1000, bytes_out: 10MiB, bytes_in: 1GiB, per: hour, rate: 5/s}.
func (p *parser) budget(n *yaml.Node) *Budget {
	b := &Budget{Per: perSession}
	seen := p.fields(n, "budget", []field{
		{"requests", func(n *yaml.Node) { b.Requests, _ = p.count(n, "budget.requests", maxAmount) }},
		{"bytes_out", func(n *yaml.Node) { b.BytesOut, _ = p.size(n, "budget.bytes_out") }},
		{"bytes_in", func(n *yaml.Node) { b.BytesIn, _ = p.size(n, "budget.bytes_in") }},
		{"per", func(n *yaml.Node) { b.Per, _ = p.enum(n, "budget.per", []string{perSession, perHour}) }},
		{"rate", func(n *yaml.Node) {
			s, ok := p.text(n, "budget.rate")
			if !ok {
				return
			}
			if b.Rate, b.RatePer, ok = parseRate(s); !ok {
				p.fail(n, "for example 5/s, 100/m, 1000/h", "budget.rate %s is not a number from 1 to %d of requests per s, m or h", quote(s), maxRate)
			}
		}},
	})
	if seen != nil && seen["requests"] == nil && seen["bytes_out"] == nil && seen["bytes_in"] == nil {
		if seen["rate"] == nil {
			p.fail(n, "for example budget: {requests: 1000, per: hour}", "the budget limits nothing")
		} else if seen["per"] != nil {
			p.fail(n, "leave it out: a rate has its own time", "per has no meaning without requests, bytes_out or bytes_in")
		}
	}
	return b
}

func parseRate(s string) (n int64, per time.Duration, ok bool) {
	num, unit, ok := strings.Cut(s, "/")
	n, err := strconv.ParseInt(num, 10, 64)
	per = rateUnit(unit)
	return n, per, ok && err == nil && num == strconv.FormatInt(n, 10) && n >= 1 && n <= maxRate && per != 0
}

func rateUnit(s string) time.Duration {
	switch s {
	case "s":
		return time.Second
	case "m":
		return time.Minute
	case "h":
		return time.Hour
	}
	return 0
}

// RateText is the rate as it is written.
func (b *Budget) RateText() string {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[b.RatePer]
	return strconv.FormatInt(b.Rate, 10) + "/" + unit
}

// valid says whether a budget is as the parser makes it.
func (b *Budget) valid() bool {
	amount := func(n int64) bool { return 0 <= n && n <= maxAmount }
	some := b.Requests > 0 || b.BytesOut > 0 || b.BytesIn > 0
	return amount(b.Requests) && amount(b.BytesOut) && amount(b.BytesIn) && (b.Per == perSession || b.Per == perHour && some) &&
		(b.Rate == 0 && b.RatePer == 0 && some ||
			1 <= b.Rate && b.Rate <= maxRate && (b.RatePer == time.Second || b.RatePer == time.Minute || b.RatePer == time.Hour))
}

// finishBudget checks the budget of a rule.
func finishBudget(r *Rule, fail failer) {
	switch {
	case r.Deny:
		fail("budget", "leave it out: what is denied needs none", "budget has no meaning in a deny rule")
	case !r.budget.valid():
		fail("budget", "for example budget: {requests: 1000, per: hour}", "this is not a budget")
	}
}

// budgeted collects the budgets that a request counts against.
func (s *search) budgeted(b *bucket) {
	for _, r := range b.budgets {
		switch {
		case !r.countsFlow(s.c.r.Protocol, s.c.r.Target.Port) || !r.matchProcess(s.c.r.Process):
		case protocolBit(s.c.r.Protocol)&bitsWeb != 0 && !r.matchRequest(&s.c):
		case s.budgets == nil:
			s.budgets = r.budget.alone
		default:
			s.budgets = append(s.budgets[:len(s.budgets):len(s.budgets)], r.budget)
		}
	}
}

// countsFlow is matchFlow, and as for a deny the outer counts with the inner: it
// could hide it.
func (r *Rule) countsFlow(p hooks.Protocol, port uint16) bool {
	if r.matchFlow(p, port) {
		return true
	}
	inner := []hooks.Protocol{hooks.ProtocolHTTPS}
	if p == hooks.ProtocolTCP {
		inner = append(inner, hooks.ProtocolHTTP)
	} else if p != hooks.ProtocolTLS {
		return false
	}
	for _, i := range inner {
		if r.matchFlow(i, port) {
			return true
		}
	}
	return false
}

// String returns the budget in YAML.
func (b *Budget) String() string {
	var out []string
	add := func(key, v string, set bool) {
		if set {
			out = append(out, key+": "+v)
		}
	}
	add("requests", countText(b.Requests), b.Requests > 0)
	add("bytes_out", sizeText(b.BytesOut), b.BytesOut > 0)
	add("bytes_in", sizeText(b.BytesIn), b.BytesIn > 0)
	add("per", b.Per, b.Per != perSession)
	add("rate", b.RateText(), b.Rate > 0)
	return "{" + strings.Join(out, ", ") + "}"
}

// Budgets returns the budgets of all rules, in the order of the policy.
func (p *Policy) Budgets() []*Budget {
	var out []*Budget
	for _, r := range p.d.Rules {
		if r.budget != nil {
			out = append(out, r.budget)
		}
	}
	return out
}
