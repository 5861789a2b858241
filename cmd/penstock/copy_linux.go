package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/workcopy"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor"
)

func newCopyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "List, look at, bring back and remove copies of sessions",
		Long: `A session that was started with penstock run --copy works on a copy of the work
directory. What it changed in it is brought into the work directory if you say so,
at its end or by these commands, which are about copies that were kept and about
those that a session that was killed has left.

A copy is named by NAME, or by PROJECT-HASH/NAME as penstock copy ls shows it.`,
		Example: `  penstock run --copy -- ./tidy.sh
  penstock copy ls
  penstock copy diff tidy-sh-k3xa
  penstock copy bring tidy-sh-k3xa`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCopyLsCmd(), newCopyShowCmd(), newCopyDiffCmd(), newCopyBringCmd(), newCopyRmCmd())
	return cmd
}

// copies is what the commands about copies share.
type copies struct {
	store *workcopy.Store
	dir   string // the caller's, which says whose name is meant
	json  bool
}

func (c *copies) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		if c.open() == nil {
			list, _ := c.store.List()
			for _, e := range list {
				names = append(names, e.ID+"\t"+string(e.State))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (c *copies) open() error {
	host, err := thisHost()
	if err != nil {
		return err
	}
	c.dir = host.Dir
	c.store, err = supervisor.Copies(host)
	return err
}

// hold takes one copy; the caller closes it.
func (c *copies) hold(name string) (*workcopy.Held, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	e, err := c.store.Find(name, c.dir)
	if err != nil {
		return nil, err
	}
	return c.store.Hold(e.ID)
}

// with takes one copy and what became of it.
func (c *copies) with(ctx context.Context, name string, f func(*workcopy.Held, *workcopy.Changes) error) error {
	h, err := c.hold(name)
	if err != nil {
		return err
	}
	defer h.Close()
	changes, err := h.Changes(ctx)
	if err != nil {
		return err
	}
	return f(h, changes)
}

// copyJSON is a copy and its changes.
type copyJSON struct {
	workcopy.Copy
	*workcopy.Changes
	Hazards []worktree.Hazard `json:"host_executes"`
}

func newCopyLsCmd() *cobra.Command {
	c := &copies{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the copies",
		Long: `List your copies, the oldest first. STATE is running while a session or another
command uses it; kept when its session has ended; left over when its session was
killed; and incomplete when it was never finished, which rm removes.`,
		Example: `  penstock copy ls
  penstock copy ls --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.open(); err != nil {
				return err
			}
			list, err := c.store.List()
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "COPY\tSTATE\tAGE\tOF")
			for _, e := range list {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", e.ID, e.State, time.Since(e.Created).Round(time.Second), text.Escape(e.Work))
			}
			return tw.Flush()
		},
	}
	c.flags(cmd)
	return cmd
}

func newCopyShowCmd() *cobra.Command {
	c := &copies{}
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a session changed in its copy",
		Long: `Show the names that a session created, edited, deleted and gave another mode in its
copy, those that can't be brought back, with why, and which of them the host would
execute or obey later: package scripts, build files, CI, new programs.`,
		Example: `  penstock copy show tidy-sh-k3xa
  penstock copy show tidy-sh-k3xa --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(h *workcopy.Held, changes *workcopy.Changes) error {
				if c.json {
					return printJSON(cmd.OutOrStdout(), copyJSON{h.Copy, changes, changes.Hazards()})
				}
				var b bytes.Buffer
				fmt.Fprintf(&b, "copy %s of %s: %s\n", h.Name, text.Escape(h.Work), changes.Count())
				changes.Write(&b, 0)
				changes.WriteHazards(&b, 0)
				_, err := cmd.OutOrStdout().Write(b.Bytes())
				return err
			})
		},
	}
	c.flags(cmd)
	return cmd
}

func newCopyDiffCmd() *cobra.Command {
	c := &copies{}
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show the lines that a session changed in its copy",
		Long: `Show what penstock copy show does, and of each file that is text the lines that
differ. It is to be read, and no patch for a program: what could control a terminal
is escaped.`,
		Example: `  penstock copy diff tidy-sh-k3xa | less
  penstock copy diff tidy-sh-k3xa --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(h *workcopy.Held, changes *workcopy.Changes) error {
				if !c.json {
					return h.Diff(cmd.Context(), changes, cmd.OutOrStdout())
				}
				var b bytes.Buffer
				if err := h.Diff(cmd.Context(), changes, &b); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), struct {
					copyJSON
					Diff string `json:"diff"`
				}{copyJSON{h.Copy, changes, changes.Hazards()}, b.String()})
			})
		},
	}
	c.flags(cmd)
	return cmd
}

func newCopyBringCmd() *cobra.Command {
	c := &copies{}
	cmd := &cobra.Command{
		Use:   "bring NAME",
		Short: "Bring what a session changed into the work directory, and remove the copy",
		Long: `Make the changes of a copy in the directory that it was made from, and remove the
copy. A name that is not what it was when it was copied is a conflict: it stays as it
is, and so does the copy, and the exit code is 1. Protected and hidden names, set-uid
files, pipes and devices are not brought: they are named, and the copy stays.`,
		Example: `  penstock copy bring tidy-sh-k3xa
  penstock copy bring tidy-sh-k3xa --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(h *workcopy.Held, changes *workcopy.Changes) error {
				got, err := h.Bring(cmd.Context(), changes)
				var some *workcopy.NotAllError
				if err != nil && !errors.As(err, &some) {
					return err
				}
				out := cmd.OutOrStdout()
				if c.json {
					return errors.Join(err, printJSON(out, struct {
						ID   string `json:"id"`
						Work string `json:"work"`
						*workcopy.Brought
						Left []workcopy.Left `json:"left_out"`
					}{h.ID, h.Work, got, changes.Left}))
				}
				var b bytes.Buffer
				workcopy.List(&b, "conflict:", got.Conflicts, 0)
				workcopy.List(&b, "refused:", got.Refused, 0)
				workcopy.List(&b, "left out", changes.Left, 0)
				fmt.Fprintln(&b, h.Said(got))
				_, werr := out.Write(b.Bytes())
				return errors.Join(err, werr)
			})
		},
	}
	c.flags(cmd)
	return cmd
}

func newCopyRmCmd() *cobra.Command {
	c := &copies{}
	cmd := &cobra.Command{
		Use:   "rm NAME…",
		Short: "Remove copies, and bring nothing",
		Long: `Remove copies with all that was changed in them. Only registered copies are removed;
one that a session uses is not.`,
		Example: `  penstock copy rm tidy-sh-k3xa`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			done := []string{}
			var err error
			for _, name := range args {
				var h *workcopy.Held
				if h, err = c.hold(name); err == nil {
					err = h.Remove()
					h.Close()
				}
				if err != nil {
					break
				}
				if done = append(done, h.ID); !c.json {
					fmt.Fprintln(cmd.OutOrStdout(), "removed "+h.ID)
				}
			}
			if c.json {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), struct {
					Removed []string `json:"removed"`
				}{done}))
			}
			return err
		},
	}
	c.flags(cmd)
	return cmd
}
