package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/learn"
	"github.com/penstock/penstock/supervisor/executable"
)

func newPolicyReplayCmd() *cobra.Command {
	r := &recordings{}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay FILE [SESSION…]",
		Short: "Say which recorded verdicts a policy file would change",
		Long: `Ask a policy file about every request and connection of sessions, the last one if
none is named, and print each verdict that would be another one now, with how often.
What something else than the policy's rules has refused is left out: malformed
requests, a hook, a pin, a budget.

The rules are asked, and no hook: what it would look at is not recorded. So it is said
how many requests hooks have changed, routed, answered, denied or left to a person
then, and about how many those of the policy would be asked, whose answers are not known.

Headers, the length of a body and the file behind an executable's name are not
recorded: a condition on them is not decided, and a rule for a process does not hold.

The exit code is 0 if no verdict of the rules would change, 1 if one would, 2 if that could not be
found out.`,
		Example: `  penstock policy replay .penstock.yaml
  penstock policy replay new.yaml --all --since 720h --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := replayed(args[0])
			if err != nil {
				return &exitError{code: 2, err: err}
			}
			play := &learn.Replay{Policy: p}
			_, err = r.each(cmd.Context(), args[1:], func(l *query.Flow) error {
				q, ok := requestOf(l)
				if rec := recordedOf(l); ok && (rec.Allowed || rec.Hooked || l.Class == "" || l.Class == "denied") {
					rec.Request = q
					play.Add(&rec)
				}
				return nil
			})
			if err != nil {
				return &exitError{code: 2, err: err}
			}
			changes := play.Changes()
			if asJSON {
				err = policyJSON(cmd.OutOrStdout(), map[string]any{"same": play.Same, "changed": play.Changed, "changes": changes,
					"left_out": play.LeftOut, "hooks_then": orEmpty(play.Then), "hooks_now": orEmpty(play.Now)})
			} else {
				for _, c := range changes {
					by := text.Clip(c.By, 200)
					if by == "" {
						by = "no rule"
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%-5s → %-5s %6d×  %s  (then %s; now %s)\n", c.Was, c.Now, c.Count, text.Clip(c.Request, 300), by, text.Clip(strings.TrimSpace(c.Reason), 300))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d verdicts would change, %d would not\n", play.Changed, play.Same)
				printHooks(cmd.OutOrStdout(), play)
			}
			if err == nil && play.Changed > 0 {
				err = &exitError{code: 1}
			}
			return err
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replayed reads one policy file, by itself.
func replayed(file string) (*policy.Policy, error) {
	doc, err := policy.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f, err := policy.Parse(file, policy.User, doc)
	if err != nil {
		return nil, err
	}
	p, err := policy.New([]*policy.File{f})
	if err == nil {
		p, err = p.CompileConditions(cel.Language{})
	}
	if err == nil {
		p, err = p.ResolveExecutables(executable.Finder(p.NeedsHash()))
	}
	return p, err
}

// recordedOf is what was decided about a flow, without its request.
func recordedOf(l *query.Flow) learn.Recorded {
	rec := learn.Recorded{Allowed: letOut(l), Rule: l.Rule, Hooked: !letOut(l) && l.Class == "hook"}
	for _, h := range l.Hooks {
		rec.Hooks = append(rec.Hooks, h.Hook)
		rec.Hooked = rec.Hooked || !rec.Allowed && h.Decision != hooks.Next.String() && h.Decision != hooks.Route.String()
	}
	return rec
}

// printHooks says what is not known because of hooks.
func printHooks(w io.Writer, play *learn.Replay) {
	if len(play.Then) > 0 {
		fmt.Fprintf(w, "then changed, routed, answered, denied or left to a person by hooks: %s\n", countsOf(play.Then))
	}
	if play.LeftOut > 0 {
		fmt.Fprintf(w, "  of these %d did not go out, and are not counted above\n", play.LeftOut)
	}
	if len(play.Now) > 0 {
		fmt.Fprintf(w, "not asked now: the policy's hooks, which may deny what its rules allow: %s\n", countsOf(play.Now))
	}
}

// countsOf writes how many are whose, the most first.
func countsOf(by map[string]int) string {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d×", text.Clip(name, 60), by[name])
	}
	return strings.Join(names, ", ")
}

// orEmpty has JSON say {} where there is nothing.
func orEmpty(by map[string]int) map[string]int {
	if by == nil {
		return map[string]int{}
	}
	return by
}
