package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/internal/text"
)

// painter writes for a person, in colour if the output is a terminal.
type painter struct {
	w      *bufio.Writer
	colour bool
}

func newPainter(w io.Writer) *painter {
	f, ok := w.(*os.File)
	colour := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &painter{w: bufio.NewWriter(w), colour: colour}
}

func (p *painter) flush() error { return p.w.Flush() }

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (p *painter) paint(colour, s string) string {
	if !p.colour || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func verdictColour(verdict string) string {
	switch verdict {
	case "allow":
		return green
	case "deny":
		return red
	}
	return yellow
}

func printSessions(p *painter, list []query.Session) error {
	tw := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SESSION\tUP\tSTATE\tALLOWED\tDENIED\tCOMMAND")
	for i := range list {
		s := &list[i]
		up := "-"
		if !s.Ended.IsZero() {
			up = s.Ended.Sub(s.Started).Round(time.Millisecond).String()
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%s\n", s.ID, up, sessionState(s), s.Counts.Allowed, s.Counts.Denied, text.Clip(strings.Join(s.Argv, " "), 60))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return p.flush()
}

// sessionState renders how a session is, or how it ended.
func sessionState(s *query.Session) string {
	switch {
	case s.State != query.Ended:
		return s.State
	case s.Signal != "":
		return "signal " + text.Clip(s.Signal, 20)
	}
	return "exit " + strconv.Itoa(s.ExitCode)
}

// findSession returns the session of a filter.
func findSession(cmd *cobra.Command, x *query.Index, id string) (*query.Session, error) {
	list, err := x.Sessions(cmd.Context(), 0)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].ID == id {
			return &list[i], nil
		}
	}
	return nil, &hintError{err: fmt.Errorf("session %s: its file can't be read", text.Clip(id, 80)), hint: "penstock audit verify"}
}

func show(cmd *cobra.Command, x *query.Index, f query.Filter, who bool) error {
	p := newPainter(cmd.OutOrStdout())
	if f.Session != "" {
		s, err := findSession(cmd, x, f.Session)
		if err != nil {
			return err
		}
		p.session(s)
	}
	var processes *query.Processes
	if who {
		var err error
		if processes, err = x.Processes(cmd.Context(), f); err != nil {
			return err
		}
	}
	n := 0
	err := x.Flows(cmd.Context(), f, func(l *query.Flow) error {
		if n++; n == 1 {
			fmt.Fprintf(p.w, "%-12s  %-7s  %-10s %10s %10s  %s\n", "TIME", "VERDICT", "STATUS", "UP", "DOWN", "FLOW (RULE)")
		}
		by := l.Rule
		if by == "" {
			by = "default"
		}
		status := text.Clip(strings.TrimSpace(num(int64(l.Status))+" "+l.Class), 10)
		g := audit.Group{Host: l.Host, Port: l.Port, Protocol: l.Protocol}
		_, err := fmt.Fprintf(p.w, "%s  %s  %-10s %10s %10s  %s %s\n", l.Time.Local().Format("15:04:05.000"), p.paint(verdictColour(l.Verdict), fmt.Sprintf("%-7s", text.Clip(l.Verdict, 7))),
			status, bytesOf(l.BytesUp), bytesOf(l.BytesDown), text.Clip(strings.TrimSpace(l.Method+" "+g.Destination()+l.Path), 120), p.paint(faint, "("+text.Clip(by, 80)+")"))
		if did := audit.ActedText(l.Hooks); err == nil && did != "" {
			_, err = fmt.Fprintf(p.w, "%14s%s\n", "", p.paint(yellow, text.Clip(did, 300)))
		}
		if err == nil && who {
			err = p.who(processes.Lineage(l.Session, l.Process))
		}
		return err
	})
	if err != nil {
		return err
	}
	if n == 0 {
		fmt.Fprintln(p.w, "no flows")
	}
	return p.flush()
}

// session prints the facts of a session.
func (p *painter) session(s *query.Session) {
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(p.w, "%s %s\n", p.paint(faint, fmt.Sprintf("%-8s", name)), value)
		}
	}
	fact("session", s.ID)
	fact("command", text.Clip(strings.Join(s.Argv, " "), 200))
	fact("in", text.Clip(s.Dir, 200))
	fact("by", text.Clip(strings.Trim(s.User+"@"+s.Machine, "@"), 100))
	fact("started", s.Started.Local().Format(time.DateTime))
	state := sessionState(s)
	if s.Reason != "" && s.Reason != "exit" && s.Reason != "signal" {
		state += " (" + text.Clip(s.Reason, 80) + ")"
	}
	fact("state", state)
	fact("sandbox", text.Clip(strings.TrimSpace(s.Tier+" "+s.Mode), 60))
	fact("policy", text.Clip(s.Policy, 80))
	c := &s.Counts
	fact("sums", fmt.Sprintf("%d allowed, %d denied, %s up, %s down, %d names, %d packets dropped, %d uses of secrets",
		c.Allowed, c.Denied, bytesOf(c.BytesUp), bytesOf(c.BytesDown), c.DNS, c.Drops, c.Secrets))
	if c.Executions > 0 {
		ends := fmt.Sprintf("%d programs executed, %d processes ended", c.Executions, c.Exits)
		if c.Signals > 0 {
			ends += fmt.Sprintf(", %d by a signal: penstock audit show --events", c.Signals)
		}
		fact("ran", ends)
	}
	if c.Violations > 0 {
		fact("", p.paint(red, fmt.Sprintf("%d violations: penstock audit show --events", c.Violations)))
	}
	if c.Lost > 0 {
		fact("", p.paint(red, fmt.Sprintf("%d records were lost", c.Lost)))
	}
	if s.Unreadable > 0 {
		fact("", p.paint(red, fmt.Sprintf("%d lines are no records: penstock audit verify", s.Unreadable)))
	}
	fmt.Fprintln(p.w)
}

// flowWho is a flow with the process that opened its connection and its parents.
type flowWho struct {
	query.Flow
	Who []*query.Process `json:"who,omitempty"`
}

func showJSON(cmd *cobra.Command, x *query.Index, f query.Filter) error {
	var doc struct {
		Session *query.Session `json:"session,omitempty"`
		Groups  []audit.Group  `json:"groups"`
		Flows   []flowWho      `json:"flows"`
	}
	var err error
	if f.Session != "" {
		if doc.Session, err = findSession(cmd, x, f.Session); err != nil {
			return err
		}
	}
	g := f
	g.Limit = 0
	if doc.Groups, err = x.Groups(cmd.Context(), g); err != nil {
		return err
	}
	doc.Flows = []flowWho{}
	processes, err := x.Processes(cmd.Context(), f)
	if err != nil {
		return err
	}
	err = x.Flows(cmd.Context(), f, func(l *query.Flow) error {
		doc.Flows = append(doc.Flows, flowWho{*l, processes.Lineage(l.Session, l.Process)})
		return nil
	})
	if err != nil {
		return err
	}
	return printJSON(cmd.OutOrStdout(), &doc)
}

func printReport(p *painter, r *audit.Report) error {
	line := func(res *audit.Result, name string) {
		state := string(res.State)
		colour := green
		switch res.State {
		case audit.StateBad:
			colour = red
		case audit.StateUnclosed, audit.StateRunning:
			colour = yellow
		}
		fmt.Fprintf(p.w, "%s  %s  %d records", p.paint(colour, fmt.Sprintf("%-8s", state)), name, res.Records)
		if res.Records > 0 {
			fmt.Fprintf(p.w, "  head %s", res.Head)
		}
		fmt.Fprintln(p.w)
		if res.Torn > 0 && res.State != audit.StateBad {
			fmt.Fprintf(p.w, "          %s:%d: unfinished: a writer was killed while it wrote\n", text.Escape(res.File), res.Torn)
		}
		if res.Lost > 0 {
			fmt.Fprintf(p.w, "          %d records were lost, and the file says so\n", res.Lost)
		}
		for _, pr := range res.Problems {
			fmt.Fprintf(p.w, "          %s\n", p.paint(red, text.Escape(pr.String())))
		}
		if res.More > 0 {
			fmt.Fprintf(p.w, "          and %d more\n", res.More)
		}
	}
	var unclosed, bad int
	for i := range r.Sessions {
		line(&r.Sessions[i], r.Sessions[i].Session)
		switch r.Sessions[i].State {
		case audit.StateBad:
			bad++
		case audit.StateUnclosed, audit.StateRunning:
			unclosed++
		}
	}
	line(&r.Ledger, "ledger")
	fmt.Fprintf(p.w, "%d sessions: %d ok, %d unclosed or running, %d tampered with\n", len(r.Sessions), len(r.Sessions)-unclosed-bad, unclosed, bad)
	return p.flush()
}

// bytesOf renders a size: 1.2 kB.
func bytesOf(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.5 && unit < 5 {
		v, unit = v/1000, unit+1
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + string("kMGTPE"[unit]) + "B"
}

// record prints one line of a session's file, in words or as it is.
func (p *painter) record(raw []byte, asJSON bool) error {
	if asJSON {
		_, err := p.w.Write(append(text.JSON(raw), '\n'))
		return err
	}
	r, err := audit.ParseRecord(raw)
	if err != nil {
		_, err = fmt.Fprintf(p.w, "%s %s\n", p.paint(red, "no record:"), text.Clip(string(raw), 160))
		return err
	}
	colour, words := describe(r)
	_, err = fmt.Fprintf(p.w, "%s %s %s\n", p.paint(faint, r.Time.Local().Format("15:04:05.000")), p.paint(colour, fmt.Sprintf("%-9s", words[0])), text.Clip(strings.Join(words[1:], "  "), 300))
	return err
}

// times says how often, if that was more than once.
func times(n uint64) string {
	if n < 2 {
		return ""
	}
	return strconv.FormatUint(n, 10) + "×"
}

// askScope says how long an answer holds.
func askScope(r *audit.Record) string {
	if r.Scope == "for" {
		return "for " + (time.Duration(r.For) * time.Microsecond).String()
	}
	return r.Scope
}

// describe puts a record into words: a label and what there is to say, without
// the empty ones. They are not escaped yet.
func describe(r *audit.Record) (colour string, words []string) {
	g := audit.Group{Host: r.Target(), Port: r.Port, Protocol: r.Protocol}
	flow := func() string { return "#" + strconv.FormatUint(r.Flow, 10) }
	var w []string
	switch r.Type {
	case audit.TypeFlowOpen:
		why := r.Rule
		if why == "" {
			why = r.Reason
		}
		via := ""
		if r.Via != "" {
			via = "via " + r.Via
		}
		if r.Routed != "" {
			via = "via " + cmp.Or(r.Via, "direct") + " by hook " + r.Routed
		}
		label := r.Verdict
		if r.Verdict != "allow" && r.Forwarded() {
			label = "would " + r.Verdict
		}
		colour, w = verdictColour(r.Verdict), []string{label, flow(), r.Method, g.Destination() + r.Path, why, via, audit.Changes(r.Hooks), by("by @", r.Process)}
	case audit.TypeFlowClose:
		colour, w = faint, []string{"end", flow(), num(int64(r.Status)), bytesOf(r.BytesUp) + " up", bytesOf(r.BytesDown) + " down", (time.Duration(r.Duration) * time.Microsecond).String(), r.Class, r.Error, audit.Changes(r.Hooks)}
	case audit.TypeDNS:
		colour, w = faint, []string{"name", r.Name, r.QType, r.RCode, r.Answer, r.Reason}
	case audit.TypeDrop:
		colour, w = red, []string{"dropped", r.Protocol, r.Destination, fmt.Sprintf("%d packets", r.Count)}
	case audit.TypeSecretUse:
		colour, w = yellow, []string{"secret", r.Name, "to " + r.Host, r.Header}
	case audit.TypeRenewal:
		colour, w = yellow, []string{"secret", r.Name, r.Action, r.Reason}
	case audit.TypePACFile:
		colour, w = yellow, []string{"pac", r.Upstream, r.Action, r.SHA256, r.Reason}
	case audit.TypeViolation:
		colour, w = red, []string{"VIOLATION", r.Kind, r.Detail, r.Target(), r.Action, by("by @", r.Process)}
	case audit.TypeLimit:
		colour, w = yellow, []string{"limit", r.Kind, times(r.Count), r.Detail, r.Action}
	case audit.TypeControl:
		colour, w = yellow, []string{r.Action, r.Reason}
	case audit.TypeExec:
		w = execWords(r)
	case audit.TypeLoss:
		colour, w = red, []string{"LOST", fmt.Sprintf("%d records", r.Count), r.Reason, r.Detail}
	case audit.TypePublish:
		w = []string{"publish", r.Action, r.Listen, "port " + strconv.Itoa(r.Port), r.Peer}
	case audit.TypeAsk:
		colour, w = yellow, []string{"ask", r.Action, by("?", r.Question), flow(), r.Method, g.Destination() + r.Path, askScope(r), by("flows ", r.Waiting), times(r.Count), r.By, r.Reason}
	case audit.TypeProcess:
		end := ""
		if r.Action == "exit" {
			colour, end = endOf(r)
		}
		w = []string{r.Action, by("@", r.Process), "pid " + strconv.Itoa(r.PID), r.Exe, end, quoteArgs(r.Argv), by("by @", r.Parent), toldBy(r)}
	case audit.TypeAccess:
		colour, w = yellow, []string{"access", r.Path, attempt(r), r.Exe, by("by @", r.Process), toldBy(r)}
	case audit.TypeSessionStart:
		w = append([]string{"session", strings.Join(r.Argv, " "), r.Tier, r.Mode}, r.Warnings...)
	case audit.TypeSessionEnd:
		w = []string{"end", r.Reason, r.Signal, "exit " + strconv.Itoa(r.ExitCode), (time.Duration(r.Duration) * time.Microsecond).Round(time.Millisecond).String()}
	default:
		w = []string{r.Type}
	}
	words = w[:1]
	for _, s := range w[1:] {
		if s != "" {
			words = append(words, s)
		}
	}
	return colour, words
}
