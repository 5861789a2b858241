package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/internal/text"
)

// who prints a process and its parents under a flow, one per line.
func (p *painter) who(line []*query.Process) error {
	if len(line) == 0 {
		_, err := fmt.Fprintf(p.w, "%14s%s\n", "", p.paint(faint, "by unknown"))
		return err
	}
	for i, r := range line {
		label := "by"
		if i > 0 {
			label = "of"
		}
		sum := ""
		if r.SHA256 != "" && i == 0 {
			sum = "  sha256 " + text.Clip(r.SHA256, 12)
		}
		if r.Shared {
			sum += "  or another that held the connection"
		}
		if r.SaidBy != "" && i == 0 {
			sum += "  as " + text.Clip(r.SaidBy, 20) + " in the pen says"
		}
		command := quoteArgs(r.Argv)
		if command == "" {
			command = r.Exe
		}
		if _, err := fmt.Fprintf(p.w, "%14s%s %s  %s%s\n", "", label, text.Clip(command, 160), p.paint(faint, text.Clip(r.Exe, 100)+" pid "+strconv.Itoa(r.PID)), p.paint(faint, sum)); err != nil {
			return err
		}
	}
	return nil
}

// attempt says how a file was opened, or why it was not.
func attempt(r *audit.Record) string {
	how := "to read"
	if r.Write {
		how = "to write"
	}
	return how + ", " + cmp.Or(r.Error, "opened")
}

// toldBy tells whose word about a process it is that is none of ours.
func toldBy(r *audit.Record) string {
	if r.SaidBy == "" {
		return ""
	}
	return "said by " + r.SaidBy
}

// by names a process by the number of its record, nothing if it has none.
func by(label string, number uint64) string {
	if number == 0 {
		return ""
	}
	return label + strconv.FormatUint(number, 10)
}

// quoteArgs joins arguments so that one with blanks is seen to be one. It does not
// escape them.
func quoteArgs(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a == "" || strings.ContainsAny(a, " \t\n'\"") {
			if !strings.Contains(a, "'") {
				a = "'" + a + "'"
			} else if !strings.ContainsAny(a, "\"\\$`") {
				a = `"` + a + `"`
			} else {
				a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
			}
		}
		b.WriteString(a)
	}
	return b.String()
}

// endOf says how a process ended.
func endOf(r *audit.Record) (colour, words string) {
	switch {
	case r.OOM:
		return red, "killed for want of memory"
	case r.Signal != "":
		return red, "ended by " + r.Signal
	}
	return "", "exit " + strconv.Itoa(r.ExitCode)
}

// execWords says what became of a further command.
func execWords(r *audit.Record) []string {
	w := []string{"exec", by("#", r.Exec), r.Action, quoteArgs(r.Argv), r.Reason, audit.Changes(r.Hooks)}
	if r.Action == "end" {
		w = append(w, "exit "+strconv.Itoa(r.ExitCode), (time.Duration(r.Duration) * time.Microsecond).Round(time.Millisecond).String())
	}
	return w
}
