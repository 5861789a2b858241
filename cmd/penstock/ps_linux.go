package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/registry"
)

// flags adds what the commands about running sessions share.
func (r *running) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.socket, "socket", "", "where the privileged supervisor listens (default "+daemonctl.Path+")")
}

// everybody adds -a.
func (r *running) everybody(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&r.all, "all", "a", false, "everybody's sessions (root only)")
	before := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.all && os.Geteuid() != 0 {
			return &hintError{err: errors.New("only root sees everybody's sessions"), hint: "leave --all out for your own"}
		}
		return before(cmd, args)
	}
}

// complete offers the running sessions.
func (r *running) complete(cmd *cobra.Command, given []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
	list, _ := r.list(cmd.Context())
	for _, s := range list {
		ids = append(ids, text.Clip(s.Session, 64)+"\t"+shown(s.Command))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newPsCmd() *cobra.Command {
	var asJSON bool
	r := &running{}
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the running sessions",
		Long: `List the running sessions of the calling user, oldest first: what runs in which
kind of pen, since when, what it uses, and how many flows it had and how many of
them were denied. CPU is the time that its processes have used so far, MEMORY what
they hold together. STATE is running or frozen (penstock freeze, on_violation).
BY says who supervises it: the session itself, or the privileged supervisor.`,
		Example: `  penstock ps
  penstock ps --json
  sudo penstock ps --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := r.list(cmd.Context())
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
			return printRunning(out, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.flags(cmd)
	r.everybody(cmd)
	return cmd
}

// printRunning is the table of penstock ps. What a session says of itself is
// another user's word where root asks.
func printRunning(out io.Writer, list []registry.Status) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SESSION\tUSER\tUP\tBY\tTIER\tMODE\tSTATE\tCPU\tMEMORY\tPIDS\tFLOWS\tDENIED\tCOMMAND")
	for i := range list {
		s := &list[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", text.Clip(s.Session, 64), userName(s.UID), time.Since(s.Started).Round(time.Second),
			supervisorOf(s), shownTier(s), text.Clip(s.Mode, 20), text.Clip(s.State, 20), shortTime(s.CPU), bytesOf(s.Memory), s.PIDs, s.Flows, s.Denied, shown(s.Command))
	}
	return tw.Flush()
}

// shownTier is the tier; that there is none is not to be overlooked.
func shownTier(s *registry.Status) string {
	if s.Tier == none.Name {
		return "NO-SANDBOX"
	}
	return text.Clip(s.Tier, 20)
}

func supervisorOf(s *registry.Status) string {
	if s.Supervised {
		return "supervised"
	}
	return "rootless"
}

// shortTime renders a processor's time: 12ms, 3.4s, 1h2m.
func shortTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// userName is a user's name, or number where there is none.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return text.Clip(u.Username, 32)
	}
	return id
}

func newKillCmd() *cobra.Command {
	var asJSON, all bool
	r := &running{}
	cmd := &cobra.Command{
		Use:   "kill SESSION…",
		Short: "End running sessions",
		Long: `End running sessions: everything in the pen is killed, open flows are closed,
and the end is recorded. The command returns when that is done. SESSION is an
identifier of penstock ps, or its beginning if only one session has it.`,
		Example: `  penstock kill 20260102-150405-x7k2q
  penstock kill --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
		ValidArgsFunction: r.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				list, err := r.list(cmd.Context())
				if err != nil {
					return err
				}
				for _, s := range list {
					args = append(args, s.Session)
				}
			}
			return eachSession(cmd, args, asJSON, "ended", func(id string) (registry.Status, error) {
				s, err := r.kill(cmd.Context(), id)
				var gone *registry.NoSessionError
				if all && errors.As(err, &gone) {
					return registry.Status{}, nil // it ended meanwhile
				}
				return s, err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "all sessions of the calling user")
	r.flags(cmd)
	return cmd
}

// eachSession does something with sessions, with all of them at once, and says so
// in their order.
func eachSession(cmd *cobra.Command, ids []string, asJSON bool, what string, f func(string) (registry.Status, error)) error {
	list, errs := make([]registry.Status, len(ids)), make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { list[i], errs[i] = f(id) })
	}
	wg.Wait()
	for i, s := range list {
		if errs[i] != nil || s.Session == "" {
			continue
		}
		if asJSON {
			b, err := json.Marshal(s)
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(append(text.JSON(b), '\n')); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", text.Clip(s.Session, 64), what)
	}
	return errors.Join(errs...)
}

func newFreezeCmd() *cobra.Command {
	return freezeCmd(true, &cobra.Command{
		Use:   "freeze SESSION…",
		Short: "Stop everything in running sessions",
		Long: `Stop every process of running sessions where it stands, until penstock resume.
Nothing in the pen can run or send meanwhile; a time limit goes on, the time
without a sign of life does not count. The policy's on_violation: freeze does the
same when a tool does what only an attack does.`,
		Example: `  penstock freeze 20260102-150405-x7k2q`,
	})
}

func newResumeCmd() *cobra.Command {
	return freezeCmd(false, &cobra.Command{
		Use:   "resume SESSION…",
		Short: "Let frozen sessions go on",
		Long: `Let sessions go on that penstock freeze or the policy's on_violation has
stopped. penstock logs shows what they did.`,
		Example: `  penstock resume 20260102-150405-x7k2q`,
	})
}

func freezeCmd(on bool, cmd *cobra.Command) *cobra.Command {
	var asJSON bool
	r := &running{}
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.ValidArgsFunction = r.complete
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what := map[bool]string{true: "frozen", false: "goes on"}[on]
		return eachSession(cmd, args, asJSON, what, func(id string) (registry.Status, error) { return registry.Freeze(id, on) })
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
