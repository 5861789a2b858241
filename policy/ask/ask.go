// Package ask is what a question to a person is made of, and the answer: values,
// as they travel from the proxy to the person and back.
//
// Its hazard is the person's trust in what is shown. The proxy, which makes the
// questions, reads hostile bytes, so whoever takes one checks it again (Check):
// its size, that its target is canonical (a name with letters of other scripts is
// its punycode), and that the rule that is said yes to is about nothing but that
// target. What a tool chose of it (path, arguments, executable) is text that is
// escaped where it is shown. It does no I/O.
package ask

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Bounds of a question, in bytes where they are of text.
const (
	MaxOpen     = 16 // questions of one session at a time
	MaxMinute   = 40 // and in a minute
	maxPath     = 1 << 10
	maxExe      = 512
	maxArgs     = 1 << 10
	maxArgCount = 32
	maxRule     = 8 << 10
	maxBy       = 1 << 10
	maxWarnings = 4
	maxWarning  = 256
	maxWho      = 128 // who answered
	maxHook     = 40
	// MaxFor is how long an answer may hold that is neither for once nor for the
	// session.
	MaxFor = 7 * 24 * time.Hour
)

// Question is what a person is asked. Every text but the rules may be the choice of
// a tool in the pen.
type Question struct {
	ID       uint64     `json:"id"` // number in the session, from 1
	Protocol string     `json:"protocol"`
	Host     string     `json:"host,omitempty"` // canonical name; or
	Address  netip.Addr `json:"address,omitzero"`
	Port     uint16     `json:"port"`
	Method   string     `json:"method,omitempty"`
	Path     string     `json:"path,omitempty"` // clipped
	Size     int64      `json:"size"`           // of the body, as declared; -1: not known
	PID      int        `json:"pid,omitempty"`
	Exe      string     `json:"exe,omitempty"`
	Args     []string   `json:"args,omitempty"` // clipped
	By       string     `json:"by"`             // what has it asked: a rule with its place, the default, or a hook and why
	Hook     string     `json:"hook,omitempty"` // the first hook that asks; then no Rule says the same as a yes
	Rule     string     `json:"rule"`           // the allow rule that would say the same, in YAML; "" with Hook
	DenyRule string     `json:"deny_rule"`
	Warnings []string   `json:"warnings,omitempty"` // what is remarkable about Rule
	Asked    time.Time  `json:"asked"`
	Until    time.Time  `json:"until"`             // denied then
	Refused  uint64     `json:"refused,omitempty"` // questions of the session so far that were not asked: too many
}

// Target is what is to be reached.
func (q *Question) Target() hooks.Target {
	return hooks.Target{Host: q.Host, Addr: q.Address, Port: q.Port}
}

// Foreign says whether the name has letters of other scripts than ASCII, which can
// look like another name.
func (q *Question) Foreign() bool {
	return strings.HasPrefix(q.Host, "xn--") || strings.Contains(q.Host, ".xn--")
}

// New makes a question of a request of which the policy says Ask.
func New(p *policy.Policy, r *hooks.Request, v policy.Verdict) *Question {
	a := p.Approval(r, v)
	q := about(r)
	q.By, q.Rule, q.DenyRule = "default: ask", a.Rule.Text, a.Deny.Text
	if v.Rule != nil {
		q.By = clip(v.Rule.Ref()+" "+v.Rule.Text, maxBy)
	}
	for _, w := range a.Warnings {
		if len(q.Warnings) < maxWarnings {
			q.Warnings = append(q.Warnings, clip(w, maxWarning))
		}
	}
	return q
}

// Hook is who leaves a request to a person that the policy allows.
type Hook struct {
	Name  string // of the first one
	Rule  string // "file:line" that it stands in
	Point hooks.Point
	Tool  string // that is called, in quotes, printable ASCII; where Point.Called
	Why   string // what all of them say, printable ASCII
}

// By says that the hook asks, and what: of a connection its first request is shown.
func (h *Hook) By() string {
	at := ""
	switch {
	case h.Point == hooks.PointConnect:
		at = " about the connection"
	case h.Point.Called():
		at = " about a call of tool " + h.Tool
	}
	return h.Rule + at + " " + h.Why
}

// NewByHook makes a question of a request that a hook leaves to a person.
func NewByHook(p *policy.Policy, r *hooks.Request, h *Hook) *Question {
	q := about(r)
	q.By, q.Hook, q.DenyRule = clip(h.By(), maxBy), h.Name, p.Approval(r, policy.Verdict{}).Deny.Text
	return q
}

// about is what a question says of the request.
func about(r *hooks.Request) *Question {
	q := &Question{Protocol: r.Protocol.String(), Host: r.Target.Host, Address: r.Target.Addr, Port: r.Target.Port,
		Method: r.Method, Path: clip(r.Path, maxPath), Size: -1}
	if r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS {
		q.Size = max(r.Size, -1)
	}
	if who := r.Process; who != nil {
		q.PID, q.Exe = who.PID, clip(who.Exe.Path, maxExe)
		left := maxArgs
		for _, s := range who.Args {
			s = clip(s, maxArgs)
			if left -= len(s) + 1; left < 0 || len(q.Args) == maxArgCount {
				break
			}
			q.Args = append(q.Args, s)
		}
	}
	return q
}

// clip bounds a text that goes into JSON.
func clip(s string, most int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= most {
		return s
	}
	most -= len("…")
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// Check says what is wrong with a question that came from a proxy.
func (q *Question) Check() error {
	fail := func(what string) error { return errors.New("check question: " + what) }
	t := q.Target()
	web := q.Protocol == "http" || q.Protocol == "https"
	switch {
	case q.ID == 0 || q.Port == 0:
		return fail("no number or no port")
	case !web && q.Protocol != "tls" && q.Protocol != "tcp":
		return fail("no protocol")
	case (q.Host == "") == !q.Address.IsValid():
		return fail("no target")
	case q.Address.IsValid() && (q.Address.Is4In6() || q.Address.Zone() != ""):
		return fail("its address is not canonical")
	case web != (q.Method != "") || web != (q.Path != "") || !plainMethod(q.Method):
		return fail("its method or path")
	case q.Size < -1 || q.PID < 0:
		return fail("a number")
	case len(q.Path) > maxPath || len(q.Exe) > maxExe || len(q.Rule) > maxRule || len(q.DenyRule) > maxRule || len(q.By) > maxBy:
		return fail("a text is too long")
	case len(q.Args) > maxArgCount || len(q.Warnings) > maxWarnings:
		return fail("a list is too long")
	case q.Until.Sub(q.Asked) <= 0 || q.Until.Sub(q.Asked) > time.Hour+time.Second:
		return fail("its time")
	}
	if q.Hook != "" && (len(q.Hook) > maxHook || strings.Trim(q.Hook, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || q.Rule != "") {
		return fail("the name of its hook, or a rule beside it")
	}
	if q.Host != "" {
		if h, err := policy.CanonicalHost(q.Host); err != nil || h != q.Host {
			return fail("its name is not canonical")
		}
	}
	n := 0
	for _, s := range q.Args {
		n += len(s)
	}
	for _, s := range q.Warnings {
		if len(s) > maxWarning {
			return fail("a text is too long")
		}
	}
	if n > maxArgs {
		return fail("a text is too long")
	}
	var err error
	if q.Hook == "" {
		_, err = policy.ParseApproval(q.Rule, t, false)
	}
	if err == nil {
		_, err = policy.ParseApproval(q.DenyRule, t, true)
	}
	if err != nil {
		return fmt.Errorf("check question: %w", err)
	}
	return nil
}

func plainMethod(s string) bool {
	return len(s) <= 32 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == ""
}

// Scope is how long an answer holds.
type Scope string

// The scopes. Always is the session's in a pen that runs: the rule that was written
// counts from the next one on.
const (
	Once    Scope = "once"
	For     Scope = "for"
	Session Scope = "session"
	Always  Scope = "always"
)

// Answer is what a person says.
type Answer struct {
	ID    uint64        `json:"id"` // of the question
	Allow bool          `json:"allow"`
	Scope Scope         `json:"scope"`
	For   time.Duration `json:"for,omitempty"` // of For
	By    string        `json:"by"`            // who says so
}

// Check says what is wrong with an answer.
func (a *Answer) Check() error {
	switch {
	case a.ID == 0:
		return errors.New("check answer: no number")
	case a.Scope != Once && a.Scope != For && a.Scope != Session && a.Scope != Always:
		return errors.New("check answer: no scope")
	case (a.Scope == For) != (a.For > 0) || a.For > MaxFor || a.For < 0:
		return fmt.Errorf("check answer: a time must be more than none and at most %s", MaxFor)
	case a.By == "" || len(a.By) > maxWho:
		return errors.New("check answer: nobody answers")
	}
	return nil
}

// String says what was answered, for a record and for the pen.
func (a *Answer) String() string {
	s := "denied"
	if a.Allow {
		s = "approved"
	}
	s += " by " + a.By
	switch a.Scope {
	case Once:
		return s + ", once"
	case For:
		return s + " for " + a.For.String()
	case Session:
		return s + " for the session"
	}
	return s + " for always"
}
