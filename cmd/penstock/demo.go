package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/supervisor/demo"
)

func newDemoCmd() *cobra.Command {
	var keep, asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole job in a few seconds, without the internet",
		Long: `Show the whole job without the internet: a server on this machine's loopback
plays the world, a program in a pen tries to reach it by many means (names,
literal addresses, proxy variables, raw TCP, UDP, wrong names), and what arrived
is compared with what the policy says. The exit code is 0 only if all of it
behaved.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the penstock binary: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			o := demo.Options{
				Self: self, Environ: os.Environ(), Out: cmd.OutOrStdout(),
				Colour: cmd.OutOrStdout() == os.Stdout && term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "",
				Keep:   keep,
			}
			if asJSON {
				o.Out = io.Discard
			}
			report, err := demo.Run(ctx, o)
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = errors.Join(err, enc.Encode(report))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the demo's directory, with its policy and audit")
	return cmd
}

// demoClientMain is the client that the demo runs in its pen.
func demoClientMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, errors.New("penstock: role:democlient is started by penstock demo"))
		return 125
	}
	if err := demo.Client(context.Background(), os.Stdout, args[0], os.Getenv("DEMO_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, "penstock:", err)
		return 1
	}
	return 0
}
