package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor/doctor"
)

func newDoctorTiersCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tiers",
		Short: "Tell what each sandbox tier enforces here",
		Long: `Tell what each sandbox tier enforces on this machine, control by control. A
session of each tier is run, and what its audit recorded at its start is printed:
what was read back from the kernel before the command ran, and what its limits are
made of.

What a command without a sandbox has (--sandbox none) is printed beside them, and is no tier.

Firecracker, in which no session runs yet, is tried: where it and KVM are, it boots a
machine that has nothing to do. What is missing is said, and what to do about it.

The exit code is 1 if no tier can run.`,
		Example: `  penstock doctor tiers
  penstock doctor tiers --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := thisHost()
			if err != nil {
				return err
			}
			tiers, err := doctor.Tiers(cmd.Context(), doctor.Options{Host: host, Backends: append(backends(), none.Backend{}), Trials: trials()})
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				err = enc.Encode(map[string]any{"tiers": append([]doctor.Tier{}, tiers...)})
			} else {
				err = printTiers(out, tiers)
			}
			if err == nil && !slices.ContainsFunc(tiers, func(t doctor.Tier) bool { return t.Error == "" && t.Name != none.Name }) {
				err = &exitError{code: 1}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printTiers prints a line for each control, a column for each tier that ran, and by
// what it is enforced in each.
func printTiers(out io.Writer, tiers []doctor.Tier) error {
	var controls []string
	cell := map[[2]string]string{}
	by := map[[2]string]string{}
	var ran []string
	for _, t := range tiers {
		if t.Error != "" {
			continue
		}
		ran = append(ran, t.Name)
		for _, c := range t.Capabilities {
			if !slices.Contains(controls, c.Control) {
				controls = append(controls, c.Control)
			}
			at := [2]string{t.Name, c.Control}
			cell[at], by[at] = string(c.State), c.By
			if c.Detail != "" {
				by[at] = strings.TrimPrefix(by[at]+": "+c.Detail, ": ")
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprint(w, "CONTROL")
	for _, t := range ran {
		fmt.Fprint(w, "\t", t)
	}
	fmt.Fprintln(w, "\tBY")
	for _, c := range controls {
		fmt.Fprint(w, c)
		var how []string
		for _, t := range ran {
			at := [2]string{t, c}
			state := cell[at]
			if state == "" {
				state = "-"
			}
			fmt.Fprint(w, "\t", state)
			if h := by[at]; h != "" && !slices.Contains(how, h) {
				how = append(how, h)
			}
		}
		fmt.Fprint(w, "\t")
		for i, h := range how {
			if i > 0 {
				fmt.Fprint(w, "; ")
			}
			fmt.Fprint(w, h)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range tiers {
		if t.Error != "" {
			fmt.Fprintf(out, "\n%s can't run here: %s\n", t.Name, t.Error)
			if t.Fix != "" {
				fmt.Fprintf(out, "  fix: %s\n", t.Fix)
			}
		}
	}
	return nil
}
