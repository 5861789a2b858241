package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/internal/text"
)

// exitUnproven is the exit code of audit verify when nothing was tampered with
// but not every session is proven complete.
const exitUnproven = 3

// auditFlags are what the audit's sub-commands share.
type auditFlags struct {
	dir    string
	socket string     // of the privileged supervisor, "": the usual one
	open   []*os.File // its directories, kept from the collector, which would close them
	// Only its audit, or only the caller's own.
	supervised, rootless bool

	json    bool
	session string

	host, verdict, rule, protocol, via string
	exe                                string
	pid                                int
	since, until                       string
	limit                              int
}

func newAuditCmd() *cobra.Command {
	a := &auditFlags{}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show, follow, prove and export what sessions did",
		Long: `Every session is recorded: who ran what under which policy, every name asked
for, every request with its verdict and rule, before it left. The records of a
session are a file of JSON lines, chained by hashes; a ledger chains the sessions.

Your own sessions are recorded in $XDG_STATE_HOME/penstock/audit
(~/.local/state/penstock/audit). Those under the privileged supervisor are
recorded by it, where you can read and not change them. Both are looked into,
unless --rootless, --supervised or --audit-dir chooses one.`,
		Example: `  penstock audit ls
  penstock audit show
  penstock audit tail -f
  penstock audit verify
  penstock audit export --format csv > flows.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	a.placeFlags(cmd.PersistentFlags(), cmd)
	cmd.AddCommand(newAuditLsCmd(a), newAuditShowCmd(a), newAuditTailCmd(a), newAuditVerifyCmd(a), newAuditExportCmd(a))
	return cmd
}

// placeFlags adds the flags that choose where to look.
func (a *auditFlags) placeFlags(f *pflag.FlagSet, cmd *cobra.Command) {
	f.StringVar(&a.dir, "audit-dir", "", "the audit's `directory`")
	f.BoolVar(&a.supervised, "supervised", false, "only what the privileged supervisor has recorded")
	f.BoolVar(&a.rootless, "rootless", false, "only what was recorded without it")
	f.StringVar(&a.socket, "socket", "", "where the privileged supervisor listens (default /run/penstock/supervise.sock)")
	cmd.MarkFlagsMutuallyExclusive("audit-dir", "supervised", "rootless")
}

// filterFlags adds the flags that choose flows.
func (a *auditFlags) filterFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.host, "host", "", "only flows to `HOST`; * stands for anything")
	f.StringVar(&a.verdict, "verdict", "", "only flows with the `verdict` allow, deny or ask")
	f.StringVar(&a.rule, "rule", "", "only flows that `FILE[:LINE]` decided, or \"default\"")
	f.StringVar(&a.protocol, "protocol", "", "only http, https, tls or tcp flows")
	f.StringVar(&a.via, "via", "", "only flows by the `upstream` of this name, or \"direct\"")
	f.StringVar(&a.exe, "exe", "", "only flows of the `program`, by path or name; * stands for anything")
	f.IntVar(&a.pid, "pid", 0, "only flows of the process with this `id` on the host")
	f.StringVar(&a.since, "since", "", "only from this `time` on: 2h, 15:04, 2006-01-02, or RFC 3339")
	f.StringVar(&a.until, "until", "", "only before this `time`")
	f.IntVar(&a.limit, "limit", 0, "only the last `N` flows")
	cmd.RegisterFlagCompletionFunc("verdict", cobra.FixedCompletions([]string{"allow", "deny", "ask"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions([]string{"http", "https", "tls", "tcp"}, cobra.ShellCompDirectiveNoFileComp))
}

// sessionFlag adds --session, with completion from the store.
func (a *auditFlags) sessionFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&a.session, "session", "", usage)
	cmd.RegisterFlagCompletionFunc("session", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		if all, err := a.stores(cmd.Context()); err == nil {
			for _, store := range all {
				more, _ := store.Sessions()
				ids = append(ids, more...)
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
}

func (a *auditFlags) filter(now time.Time) (query.Filter, error) {
	f := query.Filter{Session: a.session, Host: a.host, Verdict: a.verdict, Rule: a.rule, Protocol: a.protocol, Via: a.via, Exe: a.exe, PID: a.pid, Limit: a.limit}
	switch a.verdict {
	case "", "allow", "deny", "ask":
	default:
		return f, badFlag("verdict", a.verdict, "allow, deny or ask")
	}
	switch a.protocol {
	case "", "http", "https", "tls", "tcp", "udp", "unknown":
	default:
		return f, badFlag("protocol", a.protocol, "http, https, tls or tcp")
	}
	if a.pid < 0 {
		return f, badFlag("pid", fmt.Sprint(a.pid), "a number from 1")
	}
	if a.limit < 0 {
		return f, badFlag("limit", fmt.Sprint(a.limit), "a number from 0")
	}
	var err error
	if f.Since, err = parseWhen("since", a.since, now); err != nil {
		return f, err
	}
	f.Until, err = parseWhen("until", a.until, now)
	return f, err
}

func badFlag(name, value, want string) error {
	return &exitError{code: 2, err: fmt.Errorf("--%s %s: want %s", name, text.Clip(value, 60), want)}
}

// parseWhen reads a moment: how long ago, a time of this day, a day, or RFC 3339.
func parseWhen(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.RFC3339Nano} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, badFlag(flag, s, "a time like 2h, 15:04, 2006-01-02, or 2006-01-02T15:04:05Z")
}

// pick returns the id of the session that s names by itself or by its beginning,
// or of the newest one if s is empty.
func pick(store *audit.Store, s string) (string, error) {
	ids, err := store.Sessions()
	if err != nil {
		return "", err
	}
	var found []string
	for _, id := range ids {
		if id == s {
			return id, nil
		}
		if strings.HasPrefix(id, s) {
			found = append(found, id)
		}
	}
	switch {
	case s == "" && len(ids) > 0:
		return ids[len(ids)-1], nil
	case s == "":
		return "", &hintError{err: errors.New("no session was recorded yet in " + text.Escape(store.Dir())), hint: "penstock run -- COMMAND records one; --audit-dir names another place"}
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", &hintError{err: fmt.Errorf("session %s: %d sessions begin so", text.Clip(s, 80), len(found)), hint: "penstock audit ls"}
	}
	return "", &hintError{err: fmt.Errorf("session %s: there is none", text.Clip(s, 80)), hint: "penstock audit ls"}
}

// hintError is an error with what to do about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }
func (e *hintError) Hint() string  { return e.hint }

// printJSON writes v so that none of its bytes harm a terminal.
func printJSON(w io.Writer, v any) error {
	doc, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text.JSON(doc), '\n'))
	return err
}

func newAuditLsCmd(a *auditFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List recorded sessions",
		Long: `List recorded sessions, oldest first. "unclosed" is a session whose end was not
recorded: it was killed.`,
		Example: `  penstock audit ls
  penstock audit ls --limit 5 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.sessions(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printSessions(newPainter(cmd.OutOrStdout()), list)
		},
	}
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	cmd.Flags().IntVar(&a.limit, "limit", 0, "only the last `N` sessions")
	return cmd
}

func newAuditShowCmd(a *auditFlags) *cobra.Command {
	var all, events, who bool
	cmd := &cobra.Command{
		Use:   "show [SESSION]",
		Short: "Show what a session did",
		Long: `Show a session, the last one if none is named: what ran, under which policy and
sandbox, its flows with verdict and rule, and the sums. SESSION is an id of
penstock audit ls or its beginning. Below a flow stands what hooks have done to it, if
that was more than to let it pass: names of header fields, never values. --who adds the process that opened each flow's
connection and who started that; "unknown" had ended, or could not be read.

--events shows every record. Under the privileged supervisor, with eBPF, these tell of
processes that a signal ended (crashes, kills, want of memory) and of those that ended
after they had made connections or been refused something: the first ones of each kind
singly, the rest, as all other ends, by their number. Without it nobody tells of ends.`,
		Example: `  penstock audit show
  penstock audit show 20261122-201501 --verdict deny
  penstock audit show --all --host "*.github.com" --since 24h
  penstock audit show --who --exe curl
  penstock audit show --events`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.filter(time.Now())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				f.Session = args[0]
			}
			store, err := a.storeOf(cmd.Context(), f.Session)
			if err != nil {
				return err
			}
			if !all {
				if f.Session, err = pick(store, f.Session); err != nil {
					return err
				}
			}
			if events {
				return showEvents(cmd, a, store, f.Session)
			}
			x, err := query.Open(cmd.Context(), store)
			if err != nil {
				return err
			}
			defer x.Close()
			if a.json {
				return showJSON(cmd, x, f)
			}
			return show(cmd, x, f, who)
		},
	}
	a.sessionFlag(cmd, "the `session` to show")
	a.filterFlags(cmd)
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "the flows of all sessions")
	cmd.Flags().BoolVar(&events, "events", false, "every record, not the flows only")
	cmd.Flags().BoolVar(&who, "who", false, "add the process that made each flow")
	cmd.MarkFlagsMutuallyExclusive("all", "session")
	cmd.MarkFlagsMutuallyExclusive("all", "events")
	return cmd
}

// showEvents prints all records of a session.
func showEvents(cmd *cobra.Command, a *auditFlags, store *audit.Store, session string) error {
	f, err := store.OpenSession(session)
	if err != nil {
		return err
	}
	defer f.Close()
	p := newPainter(cmd.OutOrStdout())
	in := audit.NewScanner(f)
	for in.Scan() {
		if err := p.record(in.Bytes(), a.json); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return p.flush()
}
