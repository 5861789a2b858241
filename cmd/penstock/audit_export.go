package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/har"
	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/internal/version"
)

func newAuditVerifyCmd(a *auditFlags) *cobra.Command {
	var head string
	var unclosed bool
	cmd := &cobra.Command{
		Use:   "verify [SESSION]",
		Short: "Prove that the records are whole and unchanged",
		Long: `Verify reads every session, or one, and the ledger, and proves each against its
hash chain and all against the ledger. A record that was changed, dropped,
inserted or moved, a file that was cut or is gone, is named with file and line.

Whoever can write the audit can rewrite all of it. The head hash that penstock
run prints at its end, kept elsewhere and given as --head, proves a session
against that too.

The exit code is 0 if everything is proven complete, 1 if something was tampered
with, and 3 if nothing was but a session runs still or was killed, so that its
end is not vouched for; --unclosed makes that 0.`,
		Example: `  penstock audit verify
  penstock audit verify 20261122-201501-x7k2q --head 5f3a…
  penstock audit verify --unclosed --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := audit.VerifyOptions{Session: a.session, Head: head}
			if len(args) == 1 {
				o.Session = args[0]
			}
			stores, err := a.verified(cmd.Context(), o)
			if err != nil {
				return err
			}
			code := 0
			for _, store := range stores {
				r, err := store.Verify(o)
				if err != nil {
					return err
				}
				if a.json {
					err = printJSON(cmd.OutOrStdout(), r)
				} else {
					err = printReport(newPainter(cmd.OutOrStdout()), r)
				}
				switch {
				case err != nil:
					return err
				case !r.OK():
					code = 1
				case !r.Whole() && !unclosed && code == 0:
					code = exitUnproven
				}
			}
			if code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
	a.sessionFlag(cmd, "only this `session`")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	cmd.Flags().StringVar(&head, "head", "", "expected head of the session as `[N:]HASH`, or of the ledger if no session is named")
	cmd.Flags().BoolVar(&unclosed, "unclosed", false, "accept sessions that run or were killed")
	return cmd
}

func newAuditExportCmd(a *auditFlags) *cobra.Command {
	var format string
	var all bool
	cmd := &cobra.Command{
		Use:   "export [SESSION]",
		Short: "Write records for other programs",
		Long: `Write a session's records, the last session's if none is named, to the output.

jsonl gives the records as they stand in the file, so that their chain can be
checked; with a filter, those of the chosen flows only. csv gives one line per
flow; a cell that a spreadsheet would run as a formula begins with an apostrophe.
har gives an HTTP Archive (HAR 1.2) of the HTTP flows, which the network panel of
browsers opens: no values of queries, which the audit does not keep; header fields and
bodies of flows that a rule captures (capture: in the policy); verdict, rule, process
and what hooks did in members that begin with "_". What hooks changed, denied, routed,
asked a person about or answered is in the column hooks, and in the entry's comment.`,
		Example: `  penstock audit export > session.jsonl
  penstock audit export --all --format csv --since 2026-11-01 > november.csv
  penstock audit export --format jsonl --verdict deny
  penstock audit export --format har > session.har`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.filter(time.Now())
			if err != nil {
				return err
			}
			if !slices.Contains(exportFormats, format) {
				return badFlag("format", format, "jsonl, csv or har")
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
			out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			unfiltered := query.Filter{Session: f.Session}
			if format == "jsonl" && f == unfiltered {
				err = copyRecords(store, f.Session, out)
			} else {
				err = exportFlows(cmd, store, f, format, out)
			}
			if ferr := out.Flush(); err == nil {
				err = ferr
			}
			return err
		},
	}
	a.sessionFlag(cmd, "the `session` to export")
	a.filterFlags(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl, csv or har")
	cmd.Flags().BoolVar(&all, "all", false, "all sessions")
	cmd.MarkFlagsMutuallyExclusive("all", "session")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var exportFormats = []string{"jsonl", "csv", "har"}

// copyRecords writes the whole lines of one session, or of all.
func copyRecords(store *audit.Store, session string, out io.Writer) error {
	ids := []string{session}
	if session == "" {
		var err error
		if ids, err = store.Sessions(); err != nil {
			return err
		}
	}
	for _, id := range ids {
		f, err := store.OpenSession(id)
		if err != nil {
			return err
		}
		in := audit.NewScanner(f)
		for in.Scan() && err == nil {
			_, err = out.Write(append(text.JSON(in.Bytes()), '\n'))
		}
		f.Close()
		if err == nil {
			err = in.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func exportFlows(cmd *cobra.Command, store *audit.Store, f query.Filter, format string, out io.Writer) error {
	x, err := query.Open(cmd.Context(), store)
	if err != nil {
		return err
	}
	defer x.Close()
	switch format {
	case "jsonl":
		return x.Raw(cmd.Context(), f, func(raw []byte) error {
			_, err := out.Write(append(text.JSON(raw), '\n'))
			return err
		})
	case "har":
		return exportHAR(cmd, store, x, f, out)
	}
	csvRow(out, "time", "session", "flow", "verdict", "protocol", "host", "port", "method", "path", "rule", "reason", "mode",
		"status", "bytes_up", "bytes_down", "duration_us", "upstream", "class", "error", "pid", "exe", "process", "tid", "uid", "sha256", "argv", "parents", "via", "hooks")
	processes, err := x.Processes(cmd.Context(), f)
	if err != nil {
		return err
	}
	return x.Flows(cmd.Context(), f, func(l *query.Flow) error {
		var uid, sum, argv, parents string
		for i, p := range processes.Lineage(l.Session, l.Process) {
			if i == 0 {
				uid, sum, argv = strconv.Itoa(p.UID), p.SHA256, quoteArgs(p.Argv)
				continue
			}
			parents += " < " + p.Exe
		}
		parents = strings.TrimPrefix(parents, " < ")
		return csvRow(out, l.Time.Format(time.RFC3339Nano), l.Session, strconv.FormatUint(l.Flow, 10), l.Verdict, l.Protocol, l.Host, num(int64(l.Port)), l.Method, l.Path,
			l.Rule, l.Reason, l.Mode, num(int64(l.Status)), strconv.FormatUint(l.BytesUp, 10), strconv.FormatUint(l.BytesDown, 10), num(max(l.Duration, 0)), l.Upstream, l.Class, l.Error, num(int64(l.PID)), l.Exe, num(int64(l.Process)), num(int64(l.TID)), uid, sum, argv, parents, l.Via, audit.ActedText(l.Hooks))
	})
}

func exportHAR(cmd *cobra.Command, store *audit.Store, x *query.Index, f query.Filter, out io.Writer) error {
	archive := har.New(out, version.String())
	archive.CapturesOf(store)
	err := x.Raw(cmd.Context(), f, func(raw []byte) error {
		r, err := audit.ParseRecord(raw)
		if err != nil {
			return err
		}
		return archive.Record(r)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

// num leaves zero empty.
func num(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// csvRow writes cells by RFC 4180, every one in quotes: a spreadsheet that
// splits at semicolons then still takes a comma's cell as text.
func csvRow(w io.Writer, cells ...string) error {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(csvSafe(c), `"`, `""`))
		b.WriteByte('"')
	}
	b.WriteString("\r\n")
	_, err := fmt.Fprint(w, b.String())
	return err
}

// csvSafe escapes a cell and keeps a spreadsheet from running it: one that
// begins with a formula's sign (also its full-width form) or with blanks before
// one gets an apostrophe (OWASP, CSV injection).
func csvSafe(s string) string {
	s = text.Escape(s)
	r, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, " "))
	if strings.ContainsRune("=+-@|%\uff1d\uff0b\uff0d\uff20", r) && s != "" {
		return "'" + s
	}
	return s
}
