package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/worktree"
	"github.com/penstock/penstock/supervisor"
)

func newWorktreeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worktree",
		Short: "List, look at, merge and remove worktrees of sessions",
		Long: `A session that was started with penstock run --worktree works in a copy of the
repository's files, with a repository of its own; what it made is brought onto
the branch penstock/NAME as verified commits. These commands are about what was
kept, and about what a session that was killed has left.

A worktree is named by NAME, by its branch, or by PROJECT-HASH/NAME as
penstock worktree ls shows it.`,
		Example: `  penstock run --worktree=fix -- claude
  penstock worktree ls
  penstock worktree diff fix
  penstock worktree merge fix`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWorktreeLsCmd(), newWorktreeShowCmd(), newWorktreeDiffCmd(), newWorktreeMergeCmd(), newWorktreeRmCmd())
	return cmd
}

// trees is what the commands about worktrees share.
type trees struct {
	store *worktree.Store
	dir   string // the caller's, which says whose name is meant
	json  bool
}

func (t *trees) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&t.json, "json", false, "print JSON")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		if t.open() == nil {
			list, _ := t.store.List()
			for _, e := range list {
				names = append(names, e.ID+"\t"+string(e.State))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (t *trees) open() error {
	host, err := thisHost()
	if err != nil {
		return err
	}
	t.dir = host.Dir
	t.store, err = supervisor.Worktrees(host)
	return err
}

// with takes one worktree, with what its session made of it brought in.
func (t *trees) with(ctx context.Context, name string, f func(*worktree.Held) error) error {
	if err := t.open(); err != nil {
		return err
	}
	e, err := t.store.Find(ctx, name, t.dir)
	if err != nil {
		return err
	}
	h, err := t.store.Hold(e.ID)
	if err != nil {
		return err
	}
	defer h.Close()
	if h.Snapshot == "" {
		if err := h.Collect(ctx); err != nil {
			return err
		}
	}
	return f(h)
}

func newWorktreeLsCmd() *cobra.Command {
	t := &trees{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the worktrees",
		Long: `List your worktrees, the oldest first. STATE is running while a session or
another command uses it; kept when its commits are on its branch; left over when
its session was killed before that (show, diff and merge bring them in); and
incomplete when it was never finished, which rm removes.`,
		Example: `  penstock worktree ls
  penstock worktree ls --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.open(); err != nil {
				return err
			}
			list, err := t.store.List()
			if err != nil {
				return err
			}
			if t.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "WORKTREE\tSTATE\tAGE\tBRANCH\tREPOSITORY")
			for _, e := range list {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", e.ID, e.State, time.Since(e.Created).Round(time.Second), e.Branch, text.Escape(e.Repository))
			}
			return tw.Flush()
		},
	}
	t.flags(cmd)
	return cmd
}

func newWorktreeShowCmd() *cobra.Command {
	t := &trees{}
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a session made of its worktree",
		Long: `Show the files that a session changed in its worktree, and which of them the host
would execute or obey later: git hooks, package scripts, build files, CI, editor
tasks, shell start files, and more. The list knows names, not contents: a program
that is built or started from any other changed file is executed as well.`,
		Example: `  penstock worktree show fix
  penstock worktree show fix --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.with(cmd.Context(), args[0], func(h *worktree.Held) error {
				r, err := h.Report(cmd.Context())
				if err != nil {
					return err
				}
				if t.json {
					return printJSON(cmd.OutOrStdout(), r)
				}
				var b bytes.Buffer
				r.Write(&b, 0)
				_, err = cmd.OutOrStdout().Write(b.Bytes())
				return err
			})
		},
	}
	t.flags(cmd)
	return cmd
}

func newWorktreeDiffCmd() *cobra.Command {
	t := &trees{}
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Print what a session changed as a patch",
		Long: `Print the difference between the commit that a worktree began from and what was
made of it. On a terminal, what could control it is escaped; elsewhere the patch
is as git makes it. Programs that git is configured to show differences with are
not used.`,
		Example: `  penstock worktree diff fix | less
  penstock worktree diff fix --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.with(cmd.Context(), args[0], func(h *worktree.Held) error {
				out := cmd.OutOrStdout()
				f, ok := out.(*os.File)
				if !t.json && !(ok && term.IsTerminal(int(f.Fd()))) {
					return h.Diff(cmd.Context(), out)
				}
				var b bytes.Buffer
				if err := h.Diff(cmd.Context(), &b); err != nil {
					return err
				}
				if t.json {
					return printJSON(out, struct {
						ID    string `json:"id"`
						Base  string `json:"base"`
						Tip   string `json:"snapshot"`
						Patch string `json:"patch"`
					}{h.ID, h.Base, h.Snapshot, b.String()})
				}
				for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
					// Tabs are what code is indented with.
					parts := strings.Split(l, "\t")
					for i := range parts {
						parts[i] = text.Escape(parts[i])
					}
					fmt.Fprintln(out, strings.Join(parts, "\t"))
				}
				return nil
			})
		},
	}
	t.flags(cmd)
	return cmd
}

func newWorktreeMergeCmd() *cobra.Command {
	t := &trees{}
	cmd := &cobra.Command{
		Use:   "merge NAME",
		Short: "Merge what a session made, and remove the worktree",
		Long: `Merge the branch of a worktree into the branch that it began from, and remove the
worktree and its branch. The merge is refused, and nothing is changed, if that
branch is not checked out, if tracked files have changes that are not committed,
if there are conflicts, or if an untracked file is in the way. No hook, filter or
merge driver is run.`,
		Example: `  penstock worktree merge fix`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.with(cmd.Context(), args[0], func(h *worktree.Held) error {
				m, err := h.Merge(cmd.Context())
				if err != nil {
					return err
				}
				id, branch := h.ID, h.Branch
				removed, err := h.Remove(cmd.Context(), false)
				if err != nil {
					return err
				}
				if t.json {
					return printJSON(cmd.OutOrStdout(), struct {
						ID string `json:"id"`
						*worktree.Merged
						Removed *worktree.Removed `json:"removed"`
					}{id, m, removed})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "merged %s into %s, now at %.12s\n", branch, text.Escape(m.Into), m.Commit)
				return err
			})
		},
	}
	t.flags(cmd)
	return cmd
}

func newWorktreeRmCmd() *cobra.Command {
	t := &trees{}
	var keep bool
	cmd := &cobra.Command{
		Use:   "rm NAME…",
		Short: "Remove worktrees and their branches",
		Long: `Remove worktrees, and their branches unless --keep-branch is given or somebody has
moved them. Only registered worktrees are removed; one that a session uses is not.
What a branch was at is printed: git branch NAME COMMIT brings it back.`,
		Example: `  penstock worktree rm fix
  penstock worktree rm --keep-branch fix`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.open(); err != nil {
				return err
			}
			done := []*worktree.Removed{}
			var err error
			for _, name := range args {
				var r *worktree.Removed
				if r, err = t.remove(cmd.Context(), name, keep); err != nil {
					break
				}
				if done = append(done, r); t.json {
					continue
				}
				line := "removed " + r.ID
				switch {
				case r.BranchKept != "":
					line += ", and not its branch " + r.Branch + ": " + r.BranchKept
				case r.Commit != "":
					line += fmt.Sprintf(" and branch %s, which was at %.12s", r.Branch, r.Commit)
				}
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			if t.json {
				if perr := printJSON(cmd.OutOrStdout(), done); err == nil {
					err = perr
				}
			}
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&keep, "keep-branch", false, "leave the branch")
	return cmd
}

func (t *trees) remove(ctx context.Context, name string, keep bool) (*worktree.Removed, error) {
	e, err := t.store.Find(ctx, name, t.dir)
	if err != nil {
		return nil, err
	}
	h, err := t.store.Hold(e.ID)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Remove(ctx, keep)
}
