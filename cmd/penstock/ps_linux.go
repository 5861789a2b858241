package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor/registry"
)

func newPsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the running sessions",
		Long: `List the running sessions of the calling user, oldest first; root sees
everybody's.`,
		Example: `  penstock ps
  penstock ps --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := registry.List()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				if list == nil {
					list = []registry.Status{}
				}
				b, err := json.MarshalIndent(list, "", "  ")
				if err != nil {
					return err
				}
				// JSON lets direction marks stand; a terminal obeys them.
				_, err = out.Write(append(text.JSON(b), '\n'))
				return err
			}
			tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "SESSION\tPID\tUP\tTIER\tMODE\tCOMMAND")
			for _, s := range list {
				fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n", s.Session, s.PID, time.Since(s.Started).Round(time.Second), s.Tier, s.Mode, shown(s.Command))
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newKillCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kill SESSION…",
		Short: "End running sessions",
		Long: `End running sessions: everything in the pen is killed, open flows are closed,
and the end is recorded. SESSION is an identifier of penstock ps, or its
beginning if only one session has it.`,
		Example: `  penstock kill 20260102-150405-x7k2q`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, id := range args {
				s, err := registry.Kill(id)
				if err != nil {
					return err
				}
				if asJSON {
					if err := json.NewEncoder(cmd.OutOrStdout()).Encode(s); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: told to end\n", s.Session)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// shown renders a command for one cell of a table.
func shown(argv []string) string {
	s := fmt.Sprintf("%q", strings.Join(argv, " "))
	s = s[1 : len(s)-1]
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}
