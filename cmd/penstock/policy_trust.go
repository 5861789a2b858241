package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/policy"
)

func newPolicyTrustCmd() *cobra.Command {
	var s policySource
	var revoke, yes bool
	cmd := &cobra.Command{
		Use:   "trust [FILE]",
		Short: "Approve the project's policy file as it is now",
		Long: `Approve the project's policy file (the nearest .penstock.yaml upward from here)
as it is now. What it adds to what holds without it is printed first. When the
file changes, it does not count again until it is approved anew.`,
		Example: `  penstock policy trust
  penstock policy trust --yes ./.penstock.yaml
  penstock policy trust --revoke`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lo, err := s.options()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				lo.Project = args[0]
			}
			if lo.Project == "" {
				return &hintedError{errors.New("no " + policy.ProjectFile + " here or above"), "name the file: penstock policy trust FILE"}
			}
			if revoke {
				if err := policy.Distrust(lo.TrustStore, lo.Project); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%q does not count any more\n", lo.Project)
				return nil
			}
			return trust(cmd, lo, yes, s.json)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.o.Workdir, "workdir", "", "the work `directory` (default: the current one)")
	f.BoolVar(&s.json, "json", false, "print JSON; approve without asking")
	f.BoolVar(&revoke, "revoke", false, "take the approval back")
	f.BoolVarP(&yes, "yes", "y", false, "approve without asking")
	return cmd
}

// trust shows what a project's file adds, and records its approval. The bytes
// that are shown are the bytes that are approved: the file is read once.
func trust(cmd *cobra.Command, lo policy.LoadOptions, yes, asJSON bool) error {
	text, err := policy.ReadFile(lo.Project)
	if err != nil {
		return err
	}
	without := lo
	without.Project = ""
	base, err := policy.Load(without)
	if err != nil {
		return err
	}
	lo.ProjectText, lo.TrustProject = text, true
	with, err := policy.Load(lo)
	if err != nil {
		return err
	}
	more, less := policy.Diff(with, base)
	out := cmd.OutOrStdout()
	if asJSON {
		yes = true
	} else {
		printDiff(out, lo.Project, more, less, with.Warnings())
	}
	if in, ok := cmd.InOrStdin().(*os.File); ok && !yes && term.IsTerminal(int(in.Fd())) {
		fmt.Fprint(out, "approve it? [y/N] ")
		answer, _ := bufio.NewReader(in).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Fprintln(out, "not approved")
			return &exitError{code: 1}
		}
	}
	if err := policy.Trust(lo.TrustStore, lo.Project, text); err != nil {
		return err
	}
	if asJSON {
		return policyJSON(out, map[string]any{"file": lo.Project, "more": more, "less": less, "trusted": true})
	}
	fmt.Fprintf(out, "%q is approved as it is now\n", lo.Project)
	return nil
}

func printDiff(w io.Writer, file string, more, less []policy.Grant, warnings []policy.Warning) {
	if len(more)+len(less) == 0 {
		fmt.Fprintf(w, "%q adds nothing to what holds without it\n", file)
	}
	for _, g := range more {
		fmt.Fprintf(w, "+ %s\n", g.Text)
	}
	for _, g := range less {
		fmt.Fprintf(w, "- %s\n", g.Text)
	}
	for _, warning := range warnings {
		if warning.From.Layer == policy.Project {
			fmt.Fprintf(w, "! %s\n", warning.Message)
		}
	}
}

// hintedError is an error with a line that says what to do.
type hintedError struct {
	error
	hint string
}

// Hint says what to do.
func (e *hintedError) Hint() string { return e.hint }
