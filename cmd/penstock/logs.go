package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
)

// allRecords is no number of records that can be asked for.
const allRecords = -1

// newLogsCmd is audit tail under the name that one looks for, from the beginning.
func newLogsCmd() *cobra.Command {
	a := &auditFlags{}
	cmd := recordsCmd(a, &cobra.Command{
		Use:   "logs [SESSION]",
		Short: "Show what a session did and does, line by line",
		Long: `Show the record of a session as lines: the newest session if none is named. With
-f go on with every record as it is written, until the session ends. It is
penstock audit tail from the beginning; penstock audit show sums up.`,
		Example: `  penstock logs
  penstock logs -f
  penstock logs -n 20 20260102-150405-x7k2q
  penstock logs --json | jq .`,
	}, allRecords)
	a.placeFlags(cmd.Flags(), cmd)
	return cmd
}

func newAuditTailCmd(a *auditFlags) *cobra.Command {
	return recordsCmd(a, &cobra.Command{
		Use:   "tail [SESSION]",
		Short: "Show the last records of a session, and follow it",
		Long: `Show the last records of a session, the newest session if none is named. With -f
go on with every record as it is written, until the session ends.`,
		Example: `  penstock audit tail -f
  penstock audit tail -n 100 --json`,
	}, 20)
}

// recordsCmd makes cmd show the last records of a session: so many, unless a flag
// says otherwise.
func recordsCmd(a *auditFlags, cmd *cobra.Command, most int) *cobra.Command {
	var follow bool
	var lines int // not a.limit: its default is another
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("lines") {
			lines = most
		} else if lines < 0 {
			return badFlag("lines", fmt.Sprint(lines), "a number from 0")
		}
		if len(args) == 1 {
			a.session = args[0]
		}
		store, err := a.storeOf(cmd.Context(), a.session)
		if err != nil {
			return err
		}
		id, err := pick(store, a.session)
		if err != nil {
			return err
		}
		p := newPainter(cmd.OutOrStdout())
		at, err := lastRecords(store, id, lines, func(raw []byte) error { return p.record(raw, a.json) })
		if err != nil {
			return err
		}
		if err := p.flush(); err != nil || !follow {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		err = query.Follow(ctx, store, id, at, func(raw []byte) error {
			if err := p.record(raw, a.json); err != nil {
				return err
			}
			return p.flush()
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	a.sessionFlag(cmd, "the `session` to show")
	cmd.Flags().BoolVar(&a.json, "json", false, "print the records as they are")
	usage := "begin with the last `N` records"
	if most == allRecords {
		usage = "only the last `N` records"
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", max(most, 0), usage)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the session ends")
	return cmd
}

// lastRecords calls each with the last n whole lines of a session's file, with
// all of them if n is allRecords, and returns the offset after them.
func lastRecords(store *audit.Store, id string, n int, each func([]byte) error) (int64, error) {
	f, err := store.OpenSession(id)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := audit.NewScanner(f)
	ring := make([][]byte, 0, max(0, min(n, 1024)))
	for at := 0; in.Scan(); at++ {
		switch {
		case n == allRecords:
			if err := each(in.Bytes()); err != nil {
				return 0, err
			}
		case n == 0:
		case len(ring) < n:
			ring = append(ring, append([]byte(nil), in.Bytes()...))
		default:
			ring[at%n] = append(ring[at%n][:0], in.Bytes()...)
		}
	}
	if err := in.Err(); err != nil {
		return 0, err
	}
	first := 0
	if n > 0 && in.Line() > n {
		first = in.Line() % n
	}
	for i := range ring {
		if err := each(ring[(first+i)%len(ring)]); err != nil {
			return 0, err
		}
	}
	return in.Offset(), nil
}
