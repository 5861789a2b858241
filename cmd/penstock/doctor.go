package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/doctor"
)

func newDoctorCmd() *cobra.Command {
	var asJSON, noClients bool
	var socket string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this machine can enforce, by trying it",
		Long: `Tell what this machine can enforce. Everything is tried, not read: namespaces
are made, a command runs in a pen, and each installed client (curl, wget, git,
node, python, java, go) makes a request through one to a server that doctor
brings. Where the privileged supervisor is installed it is asked, and a command
runs under it. Proxies that the environment names are told of, with the lines of
a policy that would use them. Each finding that is not ok has its fix.

The exit code is 1 if something that pens need failed.`,
		Example: `  penstock doctor
  penstock doctor --json | jq '.findings[] | select(.state != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := thisHost()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			o := doctor.Options{Host: host, Backends: backends(), Clients: !noClients, Socket: socket}
			if !asJSON {
				p := &findingPrinter{w: out, colour: out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""}
				o.Report = p.print
			}
			findings, err := doctor.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			failed := doctor.Failed(findings)
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(map[string]any{"ok": !failed, "findings": findings}); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(out, summary(findings))
			}
			if failed {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	cmd.AddCommand(newDoctorTiersCmd())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&socket, "socket", "", "where the privileged supervisor listens (default "+daemonctl.Path+")")
	cmd.Flags().BoolVar(&noClients, "no-clients", false, "don't try the installed clients")
	return cmd
}

// findingPrinter prints findings as they come, under a heading per group.
type findingPrinter struct {
	w      io.Writer
	colour bool
	group  string
}

func (p *findingPrinter) print(f doctor.Finding) {
	if f.Group != p.group {
		if p.group != "" {
			fmt.Fprintln(p.w)
		}
		fmt.Fprintln(p.w, f.Group)
		p.group = f.Group
	}
	state := fmt.Sprintf("%-4s", f.State)
	if p.colour {
		code := map[doctor.State]string{doctor.OK: "32", doctor.Warn: "33", doctor.Fail: "31"}[f.State]
		state = "\x1b[" + code + "m" + state + "\x1b[0m"
	}
	fmt.Fprintf(p.w, "  %s  %-30s %s\n", state, f.Name, f.Detail)
	if f.Fix != "" && f.State != doctor.OK {
		fmt.Fprintf(p.w, "        %-30s fix: %s\n", "", f.Fix)
	}
}

func summary(findings []doctor.Finding) string {
	count := map[doctor.State]int{}
	for _, f := range findings {
		count[f.State]++
	}
	return fmt.Sprintf("\n%d ok, %d warnings, %d failures", count[doctor.OK], count[doctor.Warn], count[doctor.Fail])
}
