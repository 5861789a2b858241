package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy/approval"
	"github.com/penstock/penstock/supervisor/executable"
)

// ApprovalsVariable holds tokens that answer questions, for --approvals. It never
// enters a pen.
const ApprovalsVariable = "PENSTOCK_APPROVALS"

// approvalError is a token that can't be used, which ends a run before it begins:
// whoever gave it relies on it.
type approvalError struct {
	from string
	err  error
}

func (e *approvalError) Error() string {
	return fmt.Sprintf("use the approvals of %s: %v", e.from, e.err)
}

func (e *approvalError) Unwrap() error { return e.err }

// Hint says how to get another.
func (e *approvalError) Hint() string {
	return "leave it out, or have a new one made with penstock approve grant, by a key among egress.approvers of your policy"
}

// approvals reads the tokens that are to answer this run's questions, and checks
// them as the proxy will.
func (c *Config) approvals(o *Options) error {
	if o.Audience != "" && (o.Audience == approval.Any || !approval.ValidAudience(o.Audience)) {
		return &FlagError{Flag: "--approvals-audience", Value: o.Audience, Why: "is no name of a session", Fix: "use letters, digits and -_./:@#+, at most 200"}
	}
	g := &approval.Given{Audience: o.Audience, Executables: map[string][]hooks.Executable{}}
	find := executable.Finder(false)
	add := func(from string, content []byte) error {
		lines, err := approval.Lines(content)
		if err != nil {
			return &approvalError{from, err}
		}
		for i, line := range lines {
			t, err := approval.Open(line, c.Policy.Approvers())
			if err != nil {
				return &approvalError{from, fmt.Errorf("token %d: %w", i+1, err)}
			}
			if p := t.Executable(); p != "" && g.Executables[p] == nil {
				if g.Executables[p], err = find(p); err != nil {
					return &approvalError{from, fmt.Errorf("token %d: find its process: %w", i+1, err)}
				}
			}
		}
		g.Tokens = append(g.Tokens, lines...)
		if _, err := approval.NewSet(g, c.Policy.Approvers(), time.Now()); err != nil {
			return &approvalError{from, err}
		}
		return nil
	}
	for _, path := range o.Approvals {
		b, err := readRegular(path, approval.MaxFile+1)
		if err != nil {
			return &FlagError{Flag: "--approvals", Value: path, Why: err.Error(), Fix: "name a file that penstock approve grant has filled"}
		}
		if err := add("--approvals "+path, b); err != nil {
			return err
		}
		if real, err := filepath.EvalSymlinks(path); err != nil || within(c.Workdir, c.Host.Dir, real) {
			c.Warnings = append(c.Warnings, "--approvals: "+text.Escape(path)+" lies in the work directory, where the command can read it: who has a token can use it")
		}
	}
	if v, ok := c.Host.Lookup(ApprovalsVariable); ok {
		if err := add(ApprovalsVariable, []byte(strings.Join(strings.Fields(v), "\n"))); err != nil {
			return err
		}
	}
	if len(g.Tokens) == 0 {
		return nil
	}
	c.Approvals = g
	c.warnOfApprovals()
	if len(g.Executables) == 0 {
		return nil
	}
	var err error
	c.Policy, err = c.Policy.Attributed()
	return err
}

// within says whether a file, named from dir, is in the work directory.
func within(workdir, dir, file string) bool {
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	rel, err := filepath.Rel(workdir, file)
	return err == nil && filepath.IsLocal(rel)
}

// warnOfApprovals says what is answered without anybody being asked.
func (c *Config) warnOfApprovals() {
	for _, token := range c.Approvals.Tokens {
		t, err := approval.Open(token, c.Policy.Approvers())
		if err != nil {
			continue // checked before
		}
		until := time.Unix(t.Until, 0).UTC().Format(time.RFC3339)
		if !t.Allow() {
			c.Hints = append(c.Hints, t.By()+" answers no to "+t.Rule+" until "+until)
			continue
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s answers yes to %s, at most %d times in this session, until %s", t.By(), t.Rule, t.Max, until))
	}
}
