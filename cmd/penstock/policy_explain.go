package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/executable"
)

func newPolicyExplainCmd() *cobra.Command {
	var s policySource
	var method, process string
	var headers []string
	var size int64
	cmd := &cobra.Command{
		Use:   "explain URL|HOST[:PORT]",
		Short: "Say which rule decides a request, and what would change it",
		Long: `Say which rule in which file and line decides a request from a pen started here,
and what would change it. HOST[:PORT] is an https request; tcp://HOST:PORT is a
raw connection, tls://HOST one that is passed through unread. Without --process
it is not known who asks: then no rule with process allows, and each may deny.
--header and --size are for rules with when: without --size the length of the
body is not known. Rules with git judge a push by its body, rules with jsonrpc
or graphql each request, and it is not here: what they would allow depends on it.
Which hooks would be asked about what is not denied, at which point, and what each may
do there beside letting it pass, is said; an expression at the points dns, connect and
request is asked here.

Nothing is contacted and no name is looked up. The exit code is 0 if the request
is allowed, 1 if it is denied, 2 if that could not be decided.`,
		Example: `  penstock policy explain https://api.github.com/repos/o/r
  penstock policy explain --method POST https://api.github.com/repos/o/r/issues
  penstock policy explain tcp://db.corp.example:5432
  penstock policy explain 'https://github.com/o/r/info/refs?service=git-upload-pack'
  penstock policy explain --process /usr/bin/git https://github.com/o/r
  penstock policy explain --allow example.com example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := policy.ParseRequest(args[0], method)
			if err != nil {
				return &exitError{code: 2, err: err}
			}
			if err := askedOf(r, headers, size); err != nil {
				return &exitError{code: 2, err: err}
			}
			p, err := s.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if p, err = p.ResolveExecutables(executable.Finder(p.NeedsHash())); err == nil && process != "" {
				r.Process, err = processOf(process)
			}
			if err != nil {
				return &exitError{code: 2, err: err}
			}
			e := p.Explain(r)
			if err := askHooks(cmd.Context(), p, r, &e); err != nil {
				return &exitError{code: 2, err: err}
			}
			if s.json {
				err = policyJSON(cmd.OutOrStdout(), e)
			} else {
				err = printExplanation(cmd.OutOrStdout(), &e)
			}
			if err == nil && e.Action == policy.Depends {
				err = &exitError{code: 2}
			}
			if err == nil && e.Action != "allow" {
				err = &exitError{code: 1}
			}
			return err
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&method, "method", "", "the request's method (default GET)")
	cmd.Flags().StringVar(&process, "process", "", "as if `FILE`, an executable, had asked")
	cmd.Flags().StringArrayVar(&headers, "header", nil, "as if the request had this `NAME:VALUE`")
	cmd.Flags().Int64Var(&size, "size", -1, "as if the request declared a body of so many `BYTES`")
	return cmd
}

// askedOf adds to a request what rules with a condition may look at.
func askedOf(r *hooks.Request, headers []string, size int64) error {
	r.Size = max(size, -1)
	r.Header = make(http.Header, len(headers))
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return &hintedError{fmt.Errorf("--header %s: there is no value", h), "write NAME:VALUE, as in: --header accept:text/html"}
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return nil
}

// askHooks has the hooks judge what the rules allow.
func askHooks(ctx context.Context, p *policy.Policy, r *hooks.Request, e *policy.Explanation) error {
	if e.Action != hooks.Allow.String() {
		return nil
	}
	points := []hooks.Point{hooks.PointConnect}
	if r.Target.Host != "" {
		points = []hooks.Point{hooks.PointDNS, hooks.PointConnect}
	}
	if r.Protocol == hooks.ProtocolHTTP || r.Protocol == hooks.ProtocolHTTPS {
		points = append(points, hooks.PointRequest)
	}
	// Nothing is contacted: a webhook is taken to have nothing against it.
	c, err := netproxy.HooksOf(p, func(*policy.Hook) (hooks.Hook, error) { return nothingAgainst{}, nil })
	if err != nil {
		return err
	}
	hook, routed := "", ""
	for _, point := range points {
		q := *r
		q.Point = point
		if point == hooks.PointDNS {
			q.Lookup = &hooks.Lookup{Rule: e.Rule}
		}
		d, trace := c.Request(ctx, &q)
		said(e.Hooks, trace)
		if d.Via != "" {
			if by := chain.Router(trace); routed != "" && routed != d.Via {
				d = chain.Torn(hook, routed, by, d.Via, d.Rule)
			} else if why := p.Reroute(by, &r.Target, d.Via); why != "" {
				d = hooks.Decision{Rule: d.Rule, Reason: "hook " + by + " routes via " + d.Via + ", which can't be: " + why}
			} else if hook, routed, e.Via, e.Among = by, d.Via, "", nil; d.Via != policy.Direct {
				e.Via, e.Among = d.Via, p.Proxy(d.Via).Among
			}
		}
		act, what := hooks.Deny, "what a hook denies no rule allows"
		switch d.Action {
		case hooks.Next:
			continue
		case hooks.Ask:
			pass, why := p.Unasked(chain.Askers(trace), p.Mode() == policy.Audit)
			if pass || why == "" && e.Hook { // the connection's question comes first
				continue
			}
			if why != "" {
				d.Reason = why + "; " + d.Reason
				break
			}
			act, what = hooks.Ask, "what a hook asks about no rule answers"
		}
		*e = policy.Explanation{Request: e.Request, Action: act.String(), Rule: d.Rule, Reason: d.Reason, Hook: true, Via: e.Via, Among: e.Among, Hooks: e.Hooks,
			Change: []policy.Change{{What: "change the hook at " + d.Rule + ": " + what}}}
		if act == hooks.Deny {
			e.Hooks = nil // nobody else is asked
			break
		}
	}
	return nil
}

// said puts in what the expressions among the hooks said at a point.
func said(list []policy.Asked, trace []hooks.Trace) {
	for i := range list {
		for _, t := range trace {
			if a := &list[i]; a.Kind == "cel" && a.Hook == t.Hook && a.Point == t.Point.String() {
				a.Says = t.Decision
			}
		}
	}
}

// nothingAgainst is a hook that nobody asks.
type nothingAgainst struct{}

func (nothingAgainst) Decide(context.Context, *hooks.Request) (hooks.Decision, error) {
	return hooks.Decision{Action: hooks.Next}, nil
}

// processOf returns a process that runs an executable.
func processOf(file string) (*hooks.Process, error) {
	found, err := executable.Finder(true)(file)
	if err != nil {
		return nil, &hintedError{fmt.Errorf("--process %s: %w", file, err), "name an executable, as in: --process /usr/bin/git"}
	}
	return &hooks.Process{Exe: found[0]}, nil
}

// printAsked says of a hook that would be asked when, and what it says or may do.
func printAsked(w io.Writer, h *policy.Asked) {
	fmt.Fprintf(w, "  hook %s (%s, %s) at %s", h.Hook, h.Rule, h.Kind, h.Point)
	if h.If != "" {
		fmt.Fprintf(w, ", if %s", h.If)
	}
	if h.Says != "" {
		fmt.Fprintf(w, ": says %s\n", h.Says)
		return
	}
	words := make([]string, len(h.May))
	for i, may := range h.May {
		switch may {
		case "ask":
			may = "ask a person"
		case "header", "body":
			may = "change the " + may
		}
		words[i] = may
	}
	fmt.Fprintf(w, ": may %s\n", strings.Join(words, ", "))
}

func printExplanation(w io.Writer, e *policy.Explanation) error {
	b := bufio.NewWriter(w)
	word := "denied"
	switch e.Action {
	case "allow":
		word = "allowed"
	case "ask":
		word = "would ask"
	case policy.Depends:
		word = "depends on its body"
	}
	fmt.Fprintf(b, "%s: %s\n", word, e.Request)
	if e.Rule != "" && !e.Hook {
		fmt.Fprintf(b, "  by %s (%s): %s\n", e.Rule, e.Layer, e.Text)
		if e.Undecided != "" {
			fmt.Fprintf(b, "  its when can't be decided, which denies: %s\n", e.Undecided)
		}
	} else {
		fmt.Fprintf(b, "  %s\n", e.Reason)
	}
	if len(e.Among) > 0 && e.Action == "allow" {
		fmt.Fprintf(b, "  via upstream %s, whose file chooses among %s\n", e.Via, strings.Join(e.Among, ", "))
	} else if e.Via != "" && e.Action == "allow" {
		fmt.Fprintf(b, "  via upstream %s, which resolves the name and connects\n", e.Via)
	}
	for _, n := range e.Body {
		fmt.Fprintf(b, "  if its body is what %s says: %s\n", n.Rule, n.Text)
	}
	for _, n := range e.Also {
		fmt.Fprintf(b, "  also %s: %s\n", n.Rule, n.Text)
	}
	for _, h := range e.Hooks {
		printAsked(b, &h)
	}
	for _, n := range e.Near {
		fmt.Fprintf(b, "  not by %s: %s: %s\n", n.Rule, n.Text, n.Why)
	}
	for _, c := range e.Change {
		fmt.Fprintf(b, "to change it: %s\n", c.What)
		if c.Flag != "" {
			fmt.Fprintf(b, "  once:      penstock run %s …\n", c.Flag)
		}
		if c.YAML != "" {
			section := "allow"
			if strings.HasPrefix(c.Flag, "--deny") {
				section = "deny"
			}
			fmt.Fprintf(b, "  for good:  egress: {%s: [%s]}\n", section, c.YAML)
		}
	}
	return b.Flush()
}
