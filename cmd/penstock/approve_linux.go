package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy/ask"
	"github.com/penstock/penstock/supervisor"
	"github.com/penstock/penstock/supervisor/registry"
)

// answering are the flags of penstock approve.
type answering struct {
	list, json                  bool
	once, session, always, deny bool
	hold                        time.Duration
	write                       ruleWriter
}

func newApproveCmd() *cobra.Command {
	a := &answering{}
	cmd := &cobra.Command{
		Use:   "approve [QUESTION]",
		Short: "Answer what running sessions ask",
		Long: `Answer what the running sessions of the calling user ask: a request that the
policy has a person decide about (default: ask, rules under ask:, run --ask)
waits until it is answered, for a minute if ask_timeout says nothing else, and is
denied then. Nothing of it has left.

On a terminal, without QUESTION, the questions are shown as they come, and keys
answer them. With QUESTION (its identifier, as x7k2q.1) and how long the answer
holds, it is answered at once: what was asked about then goes on, or is denied.

A yes is for one target, port and protocol; where only GET, HEAD or OPTIONS was
asked for, for these methods. The rule that says the same is shown. --always
writes it into your policy, or with --to project into the project's, which must
be one that you have approved as it is; the difference is shown before. A no with
--always writes a rule that denies the host.

Where nobody is there to answer, a token that was signed before can: see
penstock approve grant.`,
		Example: `  penstock approve
  penstock approve --list --json
  penstock approve x7k2q.1 --once
  penstock approve x7k2q.2 --for 10m
  penstock approve x7k2q.3 --always --to project
  penstock approve x7k2q.4 --deny --session`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeQuestion,
		RunE: func(cmd *cobra.Command, args []string) error {
			scope, err := a.scope()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return a.answer(cmd, args[0], scope)
			}
			if scope != "" || a.deny {
				return &hintedError{fmt.Errorf("no question is named"), "penstock approve --list shows what waits"}
			}
			in, out := terminalOf(cmd)
			if a.list || a.json || in == nil || out == nil {
				return a.print(cmd.OutOrStdout())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return newConsole(a, in, out).run(ctx)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&a.list, "list", false, "list the questions that wait")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.BoolVar(&a.once, "once", false, "yes to what waits now")
	f.BoolVar(&a.session, "session", false, "the answer holds until the session ends")
	f.DurationVar(&a.hold, "for", 0, "the answer holds for this `time`")
	f.BoolVar(&a.always, "always", false, "the answer holds for the session, and is written into a policy file")
	f.BoolVar(&a.deny, "deny", false, "no; once, if nothing else says how long")
	a.write.flags(cmd)
	cmd.AddCommand(newGrantCmd(), newKeygenCmd())
	return cmd
}

// terminalOf returns the terminal that a command reads keys from and draws on.
func terminalOf(cmd *cobra.Command) (in, out *os.File) {
	is := func(v any) *os.File {
		if f, ok := v.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return f
		}
		return nil
	}
	return is(cmd.InOrStdin()), is(cmd.OutOrStdout())
}

// scope is how long the answer holds, "" when nothing says so.
func (a *answering) scope() (ask.Scope, error) {
	var all []ask.Scope
	for _, s := range []struct {
		on bool
		is ask.Scope
	}{{a.once, ask.Once}, {a.session, ask.Session}, {a.hold != 0, ask.For}, {a.always, ask.Always}} {
		if s.on {
			all = append(all, s.is)
		}
	}
	switch {
	case len(all) > 1:
		return "", &hintedError{fmt.Errorf("--%s and --%s: an answer holds in one way", all[0], all[1]), "leave one of them out"}
	case a.hold < 0 || a.hold > ask.MaxFor:
		return "", badFlag("for", a.hold.String(), "a time up to "+ask.MaxFor.String())
	case len(all) == 1:
		return all[0], nil
	}
	return "", nil
}

// waiting is a question as it is shown.
type waiting struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	UID     int    `json:"uid"`
	Workdir string `json:"workdir"`
	ask.Question
}

// questions returns what waits, the oldest first.
func questions() ([]waiting, error) {
	all, err := registry.Questions()
	if err != nil {
		return nil, err
	}
	out := []waiting{}
	for _, s := range all {
		for _, q := range s.Questions {
			out = append(out, waiting{supervisor.QuestionID(s.Session.Session, q.ID), s.Session.Session, s.Session.UID, s.Session.Workdir, q})
		}
	}
	slices.SortStableFunc(out, func(a, b waiting) int { return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

func completeQuestion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	list, err := questions()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, q := range list {
		out = append(out, q.ID+"\t"+q.what())
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// print lists what waits.
func (a *answering) print(out io.Writer) error {
	list, err := questions()
	if err != nil {
		return err
	}
	if a.json {
		b, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			return err
		}
		_, err = out.Write(append(text.JSON(b), '\n'))
		return err
	}
	for i := range list {
		for _, line := range list[i].detail(time.Now()) {
			fmt.Fprintln(out, line)
		}
	}
	return nil
}

// answer answers one question.
func (a *answering) answer(cmd *cobra.Command, id string, scope ask.Scope) error {
	if scope == "" {
		if !a.deny {
			return &hintedError{fmt.Errorf("nothing says what the answer is"), "add --once, --session, --for 10m, --always or --deny"}
		}
		scope = ask.Once
	}
	list, err := questions()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(q waiting) bool { return q.ID == id })
	if i < 0 {
		return &hintedError{fmt.Errorf("no question %q waits", id), "penstock approve --list shows what does; one that nobody answered in time was denied"}
	}
	said, err := a.give(cmd.OutOrStdout(), confirmer(cmd), &list[i], !a.deny, scope)
	if err != nil {
		return err
	}
	if a.json {
		b, err := json.Marshal(map[string]any{"id": id, "allow": !a.deny, "scope": scope, "rule": list[i].rule(!a.deny)})
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(append(text.JSON(b), '\n'))
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
	return err
}

// give gives an answer, which is first written where it holds for always, and
// returns what to say about it.
func (a *answering) give(out io.Writer, sure func(string) bool, q *waiting, allow bool, scope ask.Scope) (string, error) {
	said := q.ID + ": denied"
	if allow {
		said = q.ID + ": approved"
	}
	if scope == ask.Always {
		if q.rule(allow) == "" {
			return "", &hintedError{fmt.Errorf("hook %s asks, and no rule says the same as a yes", text.Escape(q.Hook)), "answer for the session, or change the hook"}
		}
		file, err := a.write.rule(out, sure, q, allow, a.json)
		if err != nil {
			return "", err
		}
		said += ", and written into " + text.Escape(file)
	}
	answer := &ask.Answer{ID: q.Question.ID, Allow: allow, Scope: scope}
	switch scope {
	case ask.Once:
		said += ", once"
	case ask.Session:
		said += " for the session"
	case ask.For:
		answer.For = a.hold
		said += " for " + a.hold.String()
	}
	if err := registry.Answer(q.Session, answer); err != nil {
		return "", err
	}
	return said, nil
}

// rule is the one that says the same as an answer, "" for none.
func (q *waiting) rule(allow bool) string {
	if allow {
		return q.Rule
	}
	return q.DenyRule
}

// what is asked about, on one line, escaped.
func (q *waiting) what() string {
	t := q.Target()
	return text.Escape(strings.TrimSpace(q.Method + " " + q.Protocol + "://" + t.String() + q.Path))
}

// detail is everything there is to say of a question, escaped.
func (q *waiting) detail(now time.Time) []string {
	out := []string{q.ID + "  " + q.what()}
	add := func(key, format string, args ...any) {
		out = append(out, fmt.Sprintf("  %-9s %s", key, fmt.Sprintf(format, args...)))
	}
	if q.Foreign() {
		add("name:", "LOOK TWICE: it has letters of other scripts, shown as xn--")
	}
	if q.Exe != "" || len(q.Args) > 0 {
		add("asked by:", "%s (%d)%s", text.Escape(q.Exe), q.PID, quotedArgs(q.Args))
	} else {
		add("asked by:", "not known")
	}
	if q.Size > 0 {
		add("body:", "%s", bytesOf(uint64(q.Size)))
	} else if q.Size < 0 && q.Method != "" {
		add("body:", "of no declared size")
	}
	add("because:", "%s", text.Escape(q.By))
	if q.Hook != "" {
		add("yes is:", "to what hook %s says, for the target above; the rules allow it", text.Escape(q.Hook))
	} else {
		add("yes is:", "allow: [%s]", text.Escape(q.Rule))
	}
	add("always no:", "deny: [%s]", text.Escape(q.DenyRule))
	for _, w := range q.Warnings {
		add("WARNING:", "%s", text.Escape(w))
	}
	if q.Refused > 0 {
		add("WARNING:", "%d questions of this session were not asked: too many", q.Refused)
	}
	add("session:", "%s in %s", text.Escape(q.Session), text.Escape(q.Workdir))
	add("waits for:", "%s more", max(0, q.Until.Sub(now)).Round(time.Second))
	return out
}

func quotedArgs(args []string) string {
	var b strings.Builder
	for _, s := range args {
		b.WriteString(" " + strconv.QuoteToASCII(s))
	}
	if b.Len() == 0 {
		return ""
	}
	return ":" + text.Clip(b.String(), 400)
}

// confirmer asks on the terminal, if there is one.
func confirmer(cmd *cobra.Command) func(string) bool {
	in, out := terminalOf(cmd)
	if in == nil || out == nil {
		return nil
	}
	return func(question string) bool { return confirmed(in, out, question) }
}
