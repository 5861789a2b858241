package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/executable"
)

func newPolicyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check, show and explain what a pen may do",
		Long: `Check, show and explain what a pen may do. The policy of a run is made of the
system's file, yours, the project's .penstock.yaml (once trusted), the files
named by --policy, the flags, and the profile of a known agent.`,
		Example: `  penstock policy check .penstock.yaml
  penstock policy show
  penstock policy explain https://api.github.com/user
  penstock policy learn > .penstock.yaml
  penstock policy trust`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyCheckCmd(), newPolicyShowCmd(), newPolicyExplainCmd(), newPolicyTrustCmd(), newPolicyLearnCmd(), newPolicyReplayCmd())
	return cmd
}

// policySource are the flags that say which policy is meant: those of run.
type policySource struct {
	o    config.Options
	json bool
}

func (s *policySource) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.o.Policies, "policy", nil, "use this policy `file` too")
	f.StringArrayVar(&s.o.Allow, "allow", nil, "allow `HOST[:PORT]`")
	f.StringArrayVar(&s.o.Deny, "deny", nil, "deny `HOST`")
	f.StringArrayVar(&s.o.AddHost, "add-host", nil, "give a name a fixed address: `NAME:IP`")
	f.StringVar(&s.o.Upstream, "upstream", "", "reach hosts by the proxy at this `URL`")
	f.StringVar(&s.o.Mode, "mode", "", "enforce, ask or audit")
	f.StringVar(&s.o.Workdir, "workdir", "", "the work `directory` (default: the current one)")
	f.BoolVar(&s.o.TrustProject, "trust-project", false, "take the project's file as it is")
	f.BoolVar(&s.json, "json", false, "print JSON")
	cmd.MarkFlagFilename("policy", "yaml", "yml")
}

// options returns where the policy of a run from here would come from.
func (s *policySource) options() (policy.LoadOptions, error) {
	host, err := thisHost()
	if err != nil {
		return policy.LoadOptions{}, err
	}
	dir := host.Dir
	if s.o.Workdir != "" {
		dir = s.o.Workdir
	}
	return config.LoadOptions(&s.o, host, dir), nil
}

func (s *policySource) load(warn io.Writer) (*policy.Policy, error) {
	lo, err := s.options()
	if err != nil {
		return nil, &exitError{code: 2, err: err}
	}
	p, err := policy.Load(lo)
	if err != nil {
		return nil, &exitError{code: 2, err: err}
	}
	if u := p.Untrusted(); u != nil {
		fmt.Fprintf(warn, "penstock: %s\n", u)
	}
	return p, nil
}

func policyJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// checked is what `policy check --json` says of one file.
type checked struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	System   bool             `json:"system,omitempty"` // checked as the administrator's
	Errors   []*policy.Error  `json:"errors,omitempty"`
	Warnings []policy.Warning `json:"warnings,omitempty"`
}

func newPolicyCheckCmd() *cobra.Command {
	var s policySource
	var system bool
	cmd := &cobra.Command{
		Use:   "check [FILE…]",
		Short: "Say everything that is wrong with policy files",
		Long: `Say everything that is wrong with policy files, with line, column and what to
write instead. Without FILE, the policy of a run from here is checked as a
whole, with what its layers say against each other.

Of the administrator's file (` + config.SystemPolicy + `, or any FILE with
--system) it is also said whether it is root's alone to write, so that a
supervisor takes it, and whether users can read it.

The exit code is 1 if anything is wrong.`,
		Example: `  penstock policy check .penstock.yaml
  penstock policy check ci/*.yaml --json
  penstock policy check --trust-project
  penstock policy check ` + config.SystemPolicy,
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []checked
			if len(args) == 0 {
				lo, err := s.options()
				if err != nil {
					return err
				}
				p, err := policy.Load(lo)
				if err == nil {
					p, err = p.ResolveExecutables(executable.Finder(p.NeedsHash()))
				}
				c, err := checkResult("", p, err)
				if err != nil {
					return err
				}
				if p != nil && p.Untrusted() != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "penstock: %s\n", p.Untrusted())
				}
				c.File = "the policy of a run from here"
				all = append(all, c)
			}
			for _, file := range args {
				text, err := policy.ReadFile(file)
				if err != nil {
					return err
				}
				layer := policy.User
				if system || isSystemPolicy(file) {
					layer = policy.System
				}
				var p *policy.Policy
				f, err := policy.Parse(file, layer, text)
				if err == nil {
					if p, err = policy.New([]*policy.File{f}); err == nil {
						p, err = p.CompileConditions(cel.Language{})
					}
				}
				c, err := checkResult(file, p, err)
				if err != nil {
					return err
				}
				if layer == policy.System {
					owner, err := policy.CheckSystem(file)
					if err != nil {
						return err
					}
					if len(text) > bossctl.MaxFloor {
						owner = append(owner, &policy.Error{File: file, Message: fmt.Sprintf("a supervisor takes at most %d bytes, and it has %d", bossctl.MaxFloor, len(text)), Hint: "name domains with *. instead of single hosts"})
					}
					c.Errors = append(c.Errors, owner...)
					c.OK, c.System = c.OK && len(owner) == 0, true
				}
				all = append(all, c)
			}
			return printChecked(cmd, all, s.json)
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&system, "system", false, "check each FILE as the administrator's")
	return cmd
}

func isSystemPolicy(file string) bool {
	abs, err := filepath.Abs(file)
	return err == nil && abs == config.SystemPolicy
}

// checkResult sorts errors of a policy from those of reading it.
func checkResult(file string, p *policy.Policy, err error) (checked, error) {
	c := checked{File: file, OK: err == nil}
	var list *policy.ErrorList
	switch {
	case errors.As(err, &list):
		c.Errors = list.Errors
	case err != nil:
		return c, err
	default:
		c.Warnings = p.Warnings()
	}
	return c, nil
}

func printChecked(cmd *cobra.Command, all []checked, asJSON bool) error {
	ok := true
	for _, c := range all {
		ok = ok && c.OK
	}
	if asJSON {
		if err := policyJSON(cmd.OutOrStdout(), map[string]any{"ok": ok, "files": all}); err != nil {
			return err
		}
	} else {
		for _, c := range all {
			printPolicyErrors(cmd.OutOrStdout(), "", c.Errors)
			for _, w := range c.Warnings {
				fmt.Fprintf(cmd.OutOrStdout(), "%s (warning)\n", w)
			}
			if c.OK && c.System {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok; a supervisor takes it and users can read it\n", c.File)
			} else if c.OK {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", c.File)
			}
		}
	}
	if !ok {
		return &exitError{code: 1}
	}
	return nil
}

// printPolicyErrors prints each error with what to do about it on a line of its
// own.
func printPolicyErrors(w io.Writer, prefix string, list []*policy.Error) {
	for _, e := range list {
		bare := *e
		bare.Hint = ""
		fmt.Fprintf(w, "%s%v\n", prefix, &bare)
		if e.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", e.Hint)
		}
	}
}

func newPolicyShowCmd() *cobra.Command {
	var s policySource
	var effective bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy in force here, and where each part comes from",
		Long: `Print the policy that a run from here would have: all layers joined, as a policy
file, each line with the file and line it comes from and whose word that is.
--effective adds what holds where nobody said anything; with --json it is a list
of every value and who set it.`,
		Example: `  penstock policy show
  penstock policy show --effective --allow registry.npmjs.org
  penstock policy show --effective --json
  penstock policy show --json | jq '.rules[].host'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := s.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			switch {
			case s.json && effective:
				return policyJSON(cmd.OutOrStdout(), map[string]any{"effective": p.Effective()})
			case s.json:
				return policyJSON(cmd.OutOrStdout(), p)
			}
			for _, w := range p.Warnings() {
				fmt.Fprintf(cmd.ErrOrStderr(), "penstock: %s\n", w)
			}
			return p.Show(cmd.OutOrStdout(), effective)
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&effective, "effective", false, "with what is built in where nobody said anything")
	return cmd
}
